/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The life of a knote and the ready list, as a model for spin(1): every order in
 * which the steps of threads, interrupts and closers can fall is gone through, and
 * none may lose a wake-up, deliver what does not count, use what is gone, or hang.
 *
 * A step here is a section under one lock there, and the names are those of the
 * functions of rust/queue.rs, scan.rs, register.rs, filetable.rs and probe.rs. Who
 * changes these changes this too; Documentation/model.rst says how to run it.
 *
 * Who takes part
 *
 *   activator   something happens to what is watched: sets the condition, and calls
 *               the knotes on the wait queue under its lock. Two of them.
 *   scanner     a thread that calls kevent(2) for events, again and again. Two.
 *   poller      a thread that polls the kqueue.
 *   irq         where the irq_work runs, or the worker that it is left to.
 *   changer     a thread that calls kevent(2) with changes.
 *   closer      a thread that closes the watched descriptor.
 *   kqcloser    closes the kqueue, when all is quiet or at any time before; is then
 *               the last holder of its file; and unloads the module.
 *   monitor     when nobody can go on: nothing may have been left undone.
 *
 * What is modelled
 *
 *   The status bits, each change of them in the section it is made in. The one
 *   ListArc of a knote, as the place where it is: parked, on the list, in somebody's
 *   hands, gone. References to knotes and to the kqueue, and when the last goes. The
 *   order of the ready list, and where a scan ends (seq, limit). The wait queue:
 *   entry, task state, exclusive wake-up, removal by who wakes. Time-out and signal.
 *   EV_ONESHOT, EV_CLEAR, EV_DISPATCH and none; filters that are asked (f_event) and
 *   those that keep (f_process, f_unprocess); flags that EV_ADD changes, and that the
 *   filter adds to an event. Faults. Room for one event or more, and the ways of its
 *   own that a scan has for one; the short cuts by which most knotes are given up.
 *   EV_ADD, EV_ADD of what is there, EV_DELETE, EV_DISABLE, EV_ENABLE. The close hook,
 *   and the slot that is looked at after an insertion. Close and release of the kqueue;
 *   the irq_work. The module's probes and its text.
 *
 * What is abstracted, and why nothing is missed by that
 *
 *   Sections under the queue lock, the index lock and the lock of the process's table
 *   are one step. What they guard is not touched outside of them, and nothing is
 *   taken or waited for within them, so that no order of smaller steps gives
 *   another result. (`qheld' is for a known bug that breaks just this, and for WEAK.) The lock
 *   of the wait queue of what is watched is there, as others are taken under it. There
 *   is one changer: the change lock lets no two.
 *
 *   Memory is sequentially consistent. Two things are read without the lock they are
 *   changed under. One is whether somebody is on a wait queue; see
 *   Kqueue::wake_waiter(). Sleeper and waker both take the queue lock: the sleeper
 *   after it is on the wait queue, the waker before it looks there. Whichever section
 *   comes second sees what the other had done before its own, on any machine. With WEAK
 *   the waker looks as early as a machine may have it look, which is right after it has
 *   taken the lock, before anybody sees what it writes. (Who polls looks at whether the
 *   kqueue is closed without the lock as well. That is left to the machine.)
 *
 *   The other is how many knotes are ready. Nobody sleeps for that: a call that does not
 *   wait says that there is nothing, and one that finds one there scans for one, which
 *   it takes under the lock or does not. The number goes one way in a section. Who reads
 *   it within one, or before that is seen, reads what it was before, but for more or
 *   less of several; so to read it is a step.
 *
 *   To ask whether a wait queue is active and to wake are one step: asked any earlier
 *   it is as if the step came then, where it says no, and as if it came later, where
 *   it says yes.
 *
 *   Which sleeper an exclusive wake-up takes is left open: more than the kernel does.
 *
 *   seq is a number that only grows. All that is asked of it is whether a knote was
 *   queued before a scan began: this is a bit for each knote and scan (`before'),
 *   and one for each scan, whether anything was queued since (`later').
 *
 *   Batches are of one or two, not 16, and there are one or two knotes, objects,
 *   events at a time. The protocol has no numbers but "none", "one" and "more".
 *
 *   What is in a file is a condition that holds or does not; a program that was told
 *   may make it false. That a filter sees what was changed before it was told is the
 *   contract of wait queues.
 *
 *   A reference is dropped in one step with what comes right before it, where nobody
 *   can tell. Only one of the scanners has faults, and the other signals: they are alike.
 *
 *   The program's call is not refused at its beginning when the kqueue is closed, but in
 *   the scan. That leaves more orders, not fewer.
 *
 *   A table of knotes is a bit of each knote; index.rs is not the subject. Orphans,
 *   NOTE_TRACK, the sweep of many knotes by a task work, flavours, udata: not here.
 *   A callback of a timer is like that of a wait queue: f_detach waits for it.
 */

/* ---- What varies: see run.sh ---- */

#ifndef FLAGS
#define FLAGS 0			/* of each knote */
#endif
#ifndef EVALUATED
#define EVALUATED 1		/* the filter is asked, or else told */
#endif
#ifndef TO
#define TO FLAGS		/* what EV_ADD of one that is there makes of them */
#endif
#ifndef ADDS
#define ADDS 0			/* what the filter may add to those of an event */
#endif
#ifndef KNOTES
#define KNOTES 1		/* places for knotes */
#endif
#ifndef BORN
#define BORN KNOTES		/* those that are there from the beginning */
#endif
#ifndef OBJECTS
#define OBJECTS KNOTES		/* what is watched; knote k is on object k % OBJECTS */
#endif
#ifndef ROOM
#define ROOM 1			/* for so many events in a call */
#endif
#ifndef BATCH
#define BATCH ROOM
#endif
#ifndef FAULTS
#define FAULTS 0		/* so many stores of events may fail */
#endif
#ifndef SIGNALS
#define SIGNALS 0		/* so many times a sleep of scanner 0 may end by itself */
#endif
#ifndef NOWAITS
#define NOWAITS 0		/* so many calls of scanner 0 need not wait */
#endif
#ifndef WEAK
#define WEAK 0			/* who wakes may look who sleeps before it was seen to write */
#endif
#ifndef LEAVES
#define LEAVES 0		/* a thread may not come back for more events */
#endif
#ifndef CHANGES
#define CHANGES 0		/* so many changes */
#endif
#ifndef KINDS
#define KINDS 0			/* of these */
#endif
#ifndef CLOSER
#define CLOSER 0		/* the descriptor of object 0 may be closed */
#endif
#ifndef EARLY
#define EARLY 0			/* the kqueue may be closed at any time */
#endif
#ifndef POLLS
#define POLLS 0			/* so many calls of poll */
#endif
#ifndef SCANNERS
#define SCANNERS 2
#endif
#ifndef ACTIVATORS
#define ACTIVATORS 2
#endif

#define ONESHOT  1
#define CLEAR    2
#define DISPATCH 4

#define ADD     1
#define DELETE  2
#define DISABLE 4
#define ENABLE  8

/* ---- State ---- */

#define ACTIVE   1
#define QUEUED   2
#define DISABLED 4
#define INFLUX   8
#define DROPPED  16
#define TOUCHED  32

/* Where the ListArc is. */
#define GONE   0
#define PARKED 1
#define LISTED 2
#define INHAND 3

typedef Knote {
	byte status;
	byte arc;
	byte refs;		/* the ListArcs and the borrowed */
	bit born;
	bit freed;
	bit indexed;		/* in the kqueue's table */
	bit filed;		/* in the process's */
	bit hooked;		/* on the wait queue of the object */
	bit detached;		/* f_detach has been called */
	byte before;		/* scans that began after it was queued: a bit each */
#if TO != FLAGS
	byte kflags;
#endif

	/* Of the check, not of the code. */
	bit unseen;		/* something happened that no event that counts has told */
	byte told;		/* times it was activated, where that is counted */
	byte credit;		/* events that EV_ONESHOT, EV_DISPATCH still allow */
	bit off;		/* EV_DISABLE has returned, and nobody enables */
	bit ended;		/* who has ended it is through with that */
#if ADDS & ONESHOT
	bit through;		/* the filter has said that it was the last, and that counts */
#endif
}
Knote kn[KNOTES];

/* The kqueue. */
byte ready[KNOTES];
byte count;
bit closed;
bit index_closed;
bit open_closed;		/* OpenKqueue::closed */
bit qheld;			/* the lock of it: see above */
#ifdef BUG_COUNT_LATE
byte uncounted;			/* are on the list */
#endif
bit fd_open = 1;		/* the program's descriptor of it */
byte files = 1;			/* references to its file */
byte kqrefs = BORN + 1;
bit kqfreed;

/* Its wait queue, and scans. */
bit onq[SCANNERS];		/* is on the queue */
bit asleep[SCANNERS];		/* the task state: to be woken */
bit later[SCANNERS];

/* Who polls, and the irq_work. */
bit poller_on;
bit poller_woken;
bit poke_queued;
bit poke_runs;

/* What is watched. */
bit cond[OBJECTS];
bit head[OBJECTS];		/* the lock of its wait queue */
bit slot[OBJECTS];		/* the descriptor is closed */

/* The module. */
bit unloaded;
bit disarmed;
byte in_probe;

/* Of the check. */
byte running;			/* processes that are to end by themselves */
bit quiet;
bit deleted;			/* a program has deleted or closed something */

#define OBJ(k) (k % OBJECTS)
#if TO != FLAGS
#define flags_of(k) kn[k].kflags
#else
#define flags_of(k) FLAGS
#endif
/* Activations are counted. */
#define COUNTED ((FLAGS | TO | ADDS) & CLEAR)
/* How many are ready, as who does not hold the lock is told. */
#ifndef BUG_COUNT_LATE
#define pending count
#else
#define pending (count - uncounted)
#endif
#define is(k, bits) (kn[k].status & (bits))
#define set(k, bits) kn[k].status = kn[k].status | (bits)
#define unset(k, bits) kn[k].status = kn[k].status & (255 - (bits))
#define text() assert(!unloaded)
#define use_kqueue() assert(!kqfreed); text()
#define use(k) assert(kn[k].born && !kn[k].freed); use_kqueue()

/* ---- queue.rs: in a section, d_step ---- */

inline kqueue_put() {
	assert(kqrefs > 0);
	kqrefs--;
	kqfreed = (kqrefs == 0)
}

/* A reference is dropped; not in a section. */
inline knote_put(k, n) {
	assert(kn[k].refs >= n && !kn[k].freed);
	text();
	kn[k].refs = kn[k].refs - n;
	if
	:: kn[k].refs == 0 ->
		assert(!kn[k].hooked && !kn[k].indexed && !kn[k].filed && kn[k].arc == GONE);
		kn[k].freed = 1;
		kqueue_put()
	:: else
	fi
}

inline push_back(k) {
	set(k, QUEUED);
	kn[k].arc = LISTED;
	kn[k].before = 0;
	later[0] = 1;
#if SCANNERS > 1
	later[1] = 1;
#endif
	assert(count < KNOTES);
	ready[count] = k;
	count++
}

inline enqueue(k, queued) {
	queued = 0;
	if
	:: is(k, QUEUED | DISABLED | INFLUX | DROPPED | ACTIVE) == ACTIVE ->
		/* Where the code finds nothing it does nothing. */
		assert(kn[k].arc == PARKED);
		push_back(k);
		queued = 1
	:: else
	fi
}

/* Takes it off the list: what is off is the caller's. */
inline dequeue(k, was) {
	was = 0;
	if
	:: is(k, QUEUED) ->
		assert(kn[k].arc == LISTED && count > 0);
		unset(k, QUEUED);
		kn[k].before = 0;
#if KNOTES > 1
		if
		:: ready[0] == k -> ready[0] = ready[1]
		:: else -> assert(count == 2 && ready[1] == k)
		fi;
		ready[1] = 0;
#endif
		count--;
		if :: count == 0 -> ready[0] = 0 :: else fi;
		kn[k].arc = INHAND;
		was = 1
	:: else
	fi
}

inline park(k) {
	assert(kn[k].arc == INHAND);
	kn[k].arc = PARKED
}

/* Gives up what is in hand. `dropped': the caller is to drop the ListArc. */
inline put(k, queued, dropped) {
	assert(kn[k].arc == INHAND);
	unset(k, INFLUX);
	if
#ifdef BUG_PUT_ALWAYS_QUEUES
	:: !is(k, DROPPED | DISABLED) -> push_back(k); queued = 1
	:: !is(k, DROPPED) && is(k, DISABLED) -> park(k)
#elif !defined(BUG_PUT_FORGETS_ACTIVE)
	:: is(k, DROPPED | DISABLED | ACTIVE) == ACTIVE ->
		push_back(k);
		queued = 1
	:: is(k, DROPPED | DISABLED | ACTIVE) != ACTIVE && !is(k, DROPPED) ->
		park(k)
#else
	:: !is(k, DROPPED) -> park(k)
#endif
	:: is(k, DROPPED) ->
		kn[k].arc = GONE;
		dropped = 1
	fi
}

/*
 * The short cuts of a scan, which ask one question of the whole status: whether they
 * were taken is `quick'. `flags' are the event's.
 */
#ifdef BUG_LEVEL_THOUGH_DROPPED
#define LEVEL_IGNORES (ACTIVE | DROPPED)
#elif defined(BUG_LEVEL_THOUGH_DISABLED)
#define LEVEL_IGNORES (ACTIVE | DISABLED)
#elif defined(BUG_LEVEL_THOUGH_TOUCHED)
#define LEVEL_IGNORES (ACTIVE | TOUCHED)
#else
#define LEVEL_IGNORES ACTIVE
#endif

inline give_up_level(k, flags) {
	assert(kn[k].arc == INHAND);
	quick = ((kn[k].status & (255 - LEVEL_IGNORES)) == INFLUX &&
		 !((flags) & (ONESHOT | CLEAR | DISPATCH)));
	if
	:: quick ->
		kn[k].status = ACTIVE;
		push_back(k);
#ifdef BUG_COUNT_LATE
		uncounted++;
#endif
		requeued = 1
	:: else
	fi
}

#ifdef BUG_IDLE_THOUGH_ACTIVE
#define IDLE_IGNORES ACTIVE
#elif defined(BUG_IDLE_THOUGH_DROPPED)
#define IDLE_IGNORES DROPPED
#elif defined(BUG_IDLE_THOUGH_DISABLED)
#define IDLE_IGNORES DISABLED
#else
#define IDLE_IGNORES 0
#endif

inline give_up_idle(k) {
	assert(kn[k].arc == INHAND);
#ifndef BUG_PUT_ALWAYS_QUEUES
	quick = ((kn[k].status & (255 - IDLE_IGNORES)) == INFLUX);
#endif
	if
	:: quick ->
		kn[k].status = 0;
		park(k)
	:: else
	fi
}

/* Gives it up as the first to be next. */
inline put_first(k, dropped) {
	assert(kn[k].arc == INHAND);
	unset(k, INFLUX);
	set(k, ACTIVE);
	if
	:: is(k, DROPPED) ->
		kn[k].arc = GONE;
		dropped = 1
	:: !is(k, DROPPED) && is(k, DISABLED) -> park(k)
	:: else ->
		set(k, QUEUED);
		kn[k].arc = LISTED;
		if
		:: count > 0 -> kn[k].before = kn[ready[0]].before
		:: else ->
			/* next_seq - 1: before all scans that nothing was queued since. */
			kn[k].before = (1 - later[0]);
#if SCANNERS > 1
			kn[k].before = kn[k].before + 2 * (1 - later[1])
#endif
		fi;
#if KNOTES > 1
		if :: count > 0 -> ready[1] = ready[0] :: else fi;
#endif
		ready[0] = k;
		count++
	fi
}

inline wake_pollers() {
	if
	:: !closed && poller_on -> poke_queued = 1
	:: else
	fi
}

/* ---- Steps of their own ---- */

#if SCANNERS > 1
#define waiters() (onq[0] || onq[1])
#else
#define waiters() onq[0]
#endif

inline wake_waiter() {
	atomic {
		use_kqueue();
		if
		:: onq[0] && asleep[0] -> onq[0] = 0; asleep[0] = 0
#if SCANNERS > 1
		:: onq[1] && asleep[1] -> onq[1] = 0; asleep[1] = 0
#endif
		:: else
		fi
	}
}

/*
 * Before a section after which somebody is woken: the lock is taken, and `seen' says
 * who was on the wait queue then. Nothing keeps a machine from asking that as early,
 * while what is written in the section is seen only by who takes the lock next.
 */
#if WEAK
inline look_early() {
	atomic {
		!qheld;
		qheld = 1;
		if
		:: seen = waiters()
		:: seen = 1
		fi
	}
}
#define LOOK_EARLY look_early();
/* The beginning and the end of such a section, and whether to wake after it. */
#define LOCKED true
#define UNLOCK qheld = 0
#define SEEN seen
#elif defined(BUG_WAKE_TEST_EARLY)
#define LOOK_EARLY seen = waiters();
#define LOCKED !qheld
#define UNLOCK skip
#define SEEN seen
#else
#define LOOK_EARLY
#define LOCKED !qheld
#define UNLOCK skip
#define SEEN true
#endif

/* The caller has `queued', and `seen'. */
inline activate(k) {
	LOOK_EARLY
	d_step {
		LOCKED;
		use(k);
		set(k, ACTIVE);
		kn[k].told = kn[k].told + (COUNTED && EVALUATED);
		enqueue(k, queued);
		if :: queued -> wake_pollers() :: else fi;
		UNLOCK
	};
	if
	:: queued && SEEN -> wake_waiter()
	:: else
	fi;
	seen = 0;
	queued = 0
}

inline f_detach(k) {
	d_step {
#ifndef BUG_DETACH_DOES_NOT_WAIT
		!head[OBJ(k)];
#endif
		use(k);
		assert(!kn[k].detached);
		kn[k].detached = 1;
		kn[k].hooked = 0
	}
}

/* The caller has `drops' and `was'. */
inline end_taken(k) {
#ifdef BUG_DETACH_BEFORE_DROPPED
	f_detach(k);
#endif
	d_step {
		!qheld;
		use(k);
		set(k, DROPPED);
		drops = 1;
		dequeue(k, was);
		if
		:: was || kn[k].arc == PARKED ->
			kn[k].arc = GONE;
			drops++
		:: else
		fi;
		was = 0;
#ifdef BUG_DETACH_LOCKED
		qheld = 1
#endif
	};
#ifdef BUG_DETACH_LOCKED
	f_detach(k);
	qheld = 0;
#endif
	d_step {
		use(k);
		drops = drops + kn[k].filed;
		kn[k].filed = 0
	};
#if !defined(BUG_DETACH_BEFORE_DROPPED) && !defined(BUG_DETACH_LOCKED)
	f_detach(k);
#endif
	d_step {
		kn[k].ended = 1;
		knote_put(k, drops);
		drops = 0
	}
}

/* Who takes it out of the kqueue's table ends it. */
inline end(k) {
	d_step {
		use(k);
#ifndef BUG_END_BY_TWO
		won = kn[k].indexed;
#else
		/* By a bit that is looked at before it is set. */
		won = !is(k, DROPPED);
		if :: kn[k].indexed :: else -> kn[k].refs = kn[k].refs + won fi;
#endif
		kn[k].indexed = 0
	};
	if
	:: won -> end_taken(k)
	:: else ->
#ifndef BUG_SECOND_ENDER
		d_step {
			!qheld;
			use(k);
			set(k, DROPPED);
			dequeue(k, was);
			drops = was || kn[k].arc == PARKED;
			if :: drops -> kn[k].arc = GONE :: else fi;
			knote_put(k, drops);
			was = 0;
			drops = 0
		}
#endif
	fi;
	won = 0
}

/* ---- What is watched ---- */

proctype activator(byte o) {
	byte k;
	bit queued, seen;

	/* The condition comes to hold, and then is told, under the wait queue's lock. */
#if EVALUATED
	d_step {
		cond[o] = 1;
		k = 0;
		do
		:: k < KNOTES ->
			if
			:: OBJ(k) == o && kn[k].hooked -> kn[k].unseen = 1
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	};
#endif
	atomic { !head[o] -> head[o] = 1 };
	do
	:: k < KNOTES ->
		if
		:: OBJ(k) == o && kn[k].hooked ->
#if !EVALUATED
			/* Timer: expired() notes it, and then activates. */
			d_step {
				!qheld;
				use(k);
				cond[o] = 1;
				kn[k].unseen = 1;
				kn[k].told = kn[k].told + (COUNTED > 0)
			};
#endif
			activate(k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	skip;
	d_step {
		head[o] = 0;
		k = 0;
		running--
	}
}

/* ---- scan.rs, kevent.rs ---- */

/* The event of k counts. Its flags are those given. */
inline delivered(k, flags) {
	assert(!kn[k].ended);
	assert(!kn[k].off);
	if
	:: (flags) & (ONESHOT | DISPATCH) & (FLAGS | TO) ->
		assert(kn[k].credit > 0);
		kn[k].credit--
	:: else
	fi;
	if
	:: (flags) & CLEAR ->
		assert(kn[k].told > 0);
		kn[k].told--
	:: else
	fi;
#if ADDS & ONESHOT
	assert(!kn[k].through);
	kn[k].through = (((flags) & ONESHOT) > 0)
#endif
}

inline unprocess(k) {
#ifndef BUG_NO_UNPROCESS
	if
	:: !EVALUATED && (FLAGS & CLEAR) -> cond[OBJ(k)] = 1
	:: else
	fi;
#endif
	if
	:: !is(k, DROPPED) -> kn[k].unseen = (cond[OBJ(k)] || !EVALUATED)
	:: else
	fi
}

/* What a knote in hand had when it was taken, and what its filter has added. */
#if TO != FLAGS
#define taken_flags(j) kf[j]
#else
#define taken_flags(j) FLAGS
#endif
#if ADDS
#define event_flags(j) (taken_flags(j) | (added[j] * ADDS))
#else
#define event_flags(j) taken_flags(j)
#endif
#if (ADDS & ONESHOT) && !defined(BUG_LAST_IS_TOUCHED)
#define is_last(j) added[j]
#else
#define is_last(j) 0
#endif

/* The long way. */
inline give(k, flags, last) {
	if
	:: counts && is(k, DROPPED) ->
#ifndef BUG_COUNT_AT_COPY
		counts = 0
#else
		skip
#endif
	:: counts && !is(k, DROPPED) && is(k, DISABLED) ->
		counts = 0;
		unprocess(k);
		set(k, ACTIVE)
#ifndef BUG_NO_TOUCHED
	:: counts && !is(k, DROPPED | DISABLED) && is(k, TOUCHED) && !(last) ->
		if :: !(flags_of(k) & CLEAR) -> set(k, ACTIVE) :: else fi
	:: counts && !is(k, DROPPED | DISABLED) && !(is(k, TOUCHED) && !(last)) ->
#else
	:: counts && !is(k, DROPPED | DISABLED) ->
#endif
		if
		:: (flags) & ONESHOT ->
#ifndef BUG_ONESHOT_LATE
			set(k, DROPPED);
#endif
			ends[j] = 1
		:: else ->
			if :: !((flags) & CLEAR) -> set(k, ACTIVE) :: else fi;
			if :: flags_of(k) & DISPATCH -> set(k, DISABLED) :: else fi
		fi
	:: else
	fi;
	if
#ifndef BUG_ONESHOT_LATE
	:: !ends[j] -> put(k, requeued, drop[j])
#else
	:: true ->
		/* Given up, and deleted in a section of its own. */
		if :: ends[j] -> kn[k].refs++ :: else fi;
		put(k, requeued, drop[j])
#endif
	:: else
	fi
}

/* Gives up the one at j, by a short cut where there is one. */
inline give_up(k) {
	counts = found[j];
	if
#ifndef BUG_LEVEL_BY_KNOTE
	:: counts -> give_up_level(k, event_flags(j))
#else
	:: counts -> give_up_level(k, flags_of(k))
#endif
	:: else -> give_up_idle(k)
	fi;
	if
	:: !quick -> give(k, event_flags(j), is_last(j))
	:: else
	fi;
	if
	:: counts -> delivered(k, event_flags(j)); total++; room--
	:: else
	fi;
	quick = 0
}

/* The scan is over: its limit is of no more interest. */
inline over(s) {
	i = 0;
	do
	:: i < KNOTES -> kn[i].before = kn[i].before & (255 - (1 << s)); i++
	:: else -> break
	od;
	i = 0;
	later[s] = 0
}

/* In a section: the scan has ended, and whether something is left. */
inline pass_on(s) {
	/* Who has told nothing has looked at all that was there. */
	assert(total > 0 || FAULTS || count == 0 || !(kn[ready[0]].before & (1 << s)));
	left = (pending > 0);
#ifndef BUG_NO_POKE_AFTER_SCAN
	if :: left && requeued -> wake_pollers() :: else fi;
#endif
	over(s)
}

/* After it. */
inline hand_over() {
	if
#ifndef BUG_NO_HANDOVER
	:: left && SEEN -> wake_waiter()
#endif
	:: else
	fi;
	seen = 0;
	left = 0
}

proctype scanner(byte s) {
	byte held[BATCH];
	bit found[BATCH], drop[BATCH], ends[BATCH];
#if TO != FLAGS
	byte kf[BATCH];
#endif
#if ADDS
	bit added[BATCH];
#endif
	byte n, j, total, room, drops, i, faults, signals, nowaits;
	bit requeued, begun, fault, timed_out, interrupted, was, won, counts, left, ok;
	bit one, last, quick, seen, nowait;

	/* By symmetry it is enough that one of them may. */
	if
	:: s == 0 -> signals = SIGNALS; nowaits = NOWAITS
	:: else -> faults = FAULTS
	fi;
	/* The way in. */
	atomic {
		if
		:: fd_open -> files++
		:: else -> goto done
		fi
	};
call:
#if NOWAITS
	if
	:: nowaits > 0 -> nowaits--; nowait = 1
	:: true
	fi;
	if
	:: nowait ->
		/* has_nothing */
		d_step {
			use_kqueue();
			ok = (pending == 0);
			/* What was activated, and nobody has in hand, is on the list. */
			i = 0;
			do
			:: i < KNOTES ->
				assert(!ok || is(i, ACTIVE | INFLUX | DISABLED | DROPPED) != ACTIVE);
				i++
			:: else -> break
			od;
			i = 0
		};
		if :: ok -> goto out :: else fi
	:: else
	fi;
#endif
again:
	room = ROOM;
	/* Asked without the lock. */
	one = (ROOM == 1 || pending == 1);
	do
	:: true ->
		/* Batch::take, or take_first */
		d_step {
			!qheld;
			use_kqueue();
			n = 0;
			ok = !closed;
			if :: !ok -> over(s) :: else fi;
			if
			:: ok && !begun ->
				begun = 1;
				later[s] = 0;
				i = 0;
				do
				:: i < count ->
					kn[ready[i]].before = kn[ready[i]].before | (1 << s);
					i++
				:: else -> break
				od;
				i = 0
			:: else
			fi;
			do
			:: ok && n < BATCH && n < room && !(one && n == 1) && count > 0 &&
			   (kn[ready[0]].before & (1 << s)) ->
				held[n] = ready[0];
				use(held[n]);
				dequeue(held[n], was);
				was = 0;
#ifndef BUG_ACTIVE_LATE
				unset(held[n], ACTIVE | TOUCHED);
#else
				unset(held[n], TOUCHED);
#endif
				set(held[n], INFLUX);
#if TO != FLAGS
				kf[n] = kn[held[n]].kflags;
#endif
#if !EVALUATED
				/* f_process */
				assert(!kn[held[n]].detached);
				found[n] = cond[OBJ(held[n])];
				if
				:: found[n] ->
					kn[held[n]].unseen = 0;
					if :: FLAGS & CLEAR -> cond[OBJ(held[n])] = 0 :: else fi
				:: else
				fi;
#endif
				n++
			:: else -> break
			od;
			was = 0;
			/* A short batch is the last, for which this is all the room. */
			last = (!one && n < BATCH && n < room);
			if :: ok && n == 0 -> pass_on(s) :: else fi
		};
		if
		:: !ok -> goto scanned
		:: ok && n == 0 -> seen = 1; hand_over(); break
		:: else
		fi;
		/* Batch::look, or f_deliver */
#if EVALUATED
		do
		:: j < n ->
			d_step {
				use(held[j]);
				found[j] = cond[OBJ(held[j])];
				if :: found[j] -> kn[held[j]].unseen = 0 :: else fi
			};
#if ADDS
			if
			:: found[j] -> added[j] = 1
			:: true
			fi;
#endif
			j++
		:: else -> break
		od;
		j = 0;
#ifdef BUG_ACTIVE_LATE
		d_step {
			do
			:: j < n -> unset(held[j], ACTIVE); j++
			:: else -> break
			od;
			j = 0
		};
#endif
#endif
		/* EventList::store */
		if
		:: true
		:: faults > 0 -> faults--; fault = 1
		fi;
		if
		:: fault ->
			/* take_back */
			d_step {
				!qheld;
				use_kqueue();
				j = n;
				do
				:: j > 0 ->
					j--;
					if
					:: !found[j] -> put(held[j], requeued, drop[j])
					:: else ->
						unprocess(held[j]);
						put_first(held[j], drop[j])
					fi
				:: else -> break
				od;
				wake_pollers()
			};
#ifndef BUG_NO_WAKE_AFTER_FAULT
			wake_waiter()
#endif
		:: else ->
			/* give_up, or the end of scan_one */
			LOOK_EARLY
			d_step {
				LOCKED;
				use_kqueue();
				j = 0;
				do
				:: j < n -> give_up(held[j]); j++
				:: else -> break
				od;
				j = 0;
				counts = 0;
				/* One that is to be dropped is so before the scan ends. */
				if
				:: one && (drop[0] || ends[0]) -> last = 0
				:: else ->
#ifndef BUG_ONE_STOPS
					last = (last || room == 0 || (one && (total > 0 || pending == 0)));
#else
					last = (last || room == 0 || one);
#endif
					one = 0
				fi;
				if :: last -> pass_on(s) :: else fi;
				UNLOCK
			};
#ifdef BUG_COUNT_LATE
			uncounted = 0;
#endif
			hand_over();
			do
			:: j < n ->
				if
				:: ends[j] ->
					end(held[j])
				:: else
				fi;
				j++
			:: else -> break
			od;
			j = 0
		fi;
		/* The ListArcs that are left over. */
		do
		:: j < n ->
			if
			:: drop[j] || ends[j] ->
				d_step {
#ifndef BUG_ONESHOT_LATE
					if :: ends[j] -> kn[held[j]].arc = GONE :: else fi;
					knote_put(held[j], 1)
#else
					knote_put(held[j], drop[j] + ends[j])
#endif
				}
			:: else
			fi;
			held[j] = 0;
			found[j] = 0;
			drop[j] = 0;
			ends[j] = 0;
#if TO != FLAGS
			kf[j] = 0;
#endif
#if ADDS
			added[j] = 0;
#endif
			j++
		:: else -> break
		od;
		j = 0;
		n = 0;
		if
		:: fault && total == 0 -> d_step { over(s) }; goto scanned
		:: fault && total > 0 ->
			d_step {
				!qheld;
				use_kqueue();
				pass_on(s)
			};
			seen = 1;
			hand_over();
			break
		:: !fault && one ->
			/* The lock is taken again after what was dropped. */
			LOOK_EARLY
			d_step {
				LOCKED;
				use_kqueue();
				one = 0;
				last = (total > 0 || pending == 0);
				if :: last -> pass_on(s) :: else fi;
				UNLOCK
			};
			hand_over()
		:: else
		fi;
		if :: last -> break :: else fi
	od;
scanned:
	begun = 0;
	requeued = 0;
	left = 0;
	room = 0;
	one = 0;
	last = 0;
	if
	:: !ok || fault || total > 0 || timed_out || interrupted || nowait -> goto out
	:: else
	fi;
	/* sleep_unless */
#ifdef BUG_LOOK_BEFORE_QUEUE
	left = (pending > 0 || closed);
#endif
	d_step {
		use_kqueue();
		onq[s] = 1;
		asleep[s] = 1
	};
#ifndef BUG_LOOK_BEFORE_QUEUE
	d_step {
#ifndef BUG_ASK_WITHOUT_LOCK
		!qheld;
#endif
		left = (pending > 0 || closed)
	};
#endif
	if
	:: left
	:: else ->
progress_sleep:
		/* schedule_hrtimeout_range: a signal and the time are told apart below. */
		atomic {
			if
			:: !asleep[s]
			:: asleep[s] && s == 0 && signals > 0 ->
				signals--;
				asleep[s] = 0;
				timed_out = 1
			:: signals > 0 && s == 0 && !asleep[s] ->
				/* Both at once. */
				signals--;
				interrupted = 1
			fi
		}
	fi;
	/* finish_wait: who woke us has done it. */
	if
	:: onq[s] -> d_step { onq[s] = 0; asleep[s] = 0 }
	:: else
	fi;
	left = 0;
#ifdef BUG_SIGNAL_BEFORE_SCAN
	if :: interrupted -> goto out :: else fi;
#endif
	goto again;
out:
	fault = 0;
	timed_out = 0;
	interrupted = 0;
	nowait = 0;
	ok = 0;
	/* The program has its events, and may see to what they tell of. Then the next call. */
	if
	:: total > 0 ->
progress_delivered:
		total = 0
	:: else
	fi;
	atomic {
		if
		:: true
		:: EVALUATED && cond[0] && quiet == 0 ->
			cond[0] = 0;
			do
			:: i < KNOTES ->
				if :: OBJ(i) == 0 -> kn[i].unseen = 0 :: else fi;
				i++
			:: else -> break
			od;
			i = 0
		fi;
		if
		:: fd_open -> goto call
		:: LEAVES || !fd_open -> files--
		fi
	};
done:
	running--
}

#if POLLS
proctype poller() {
	byte polls = POLLS;
	bit saw;

call:
	atomic {
		if
		:: fd_open && polls > 0 -> files++; polls--
		:: else -> goto done
		fi
	};
	poller_on = 1;
	do
	:: true ->
		poller_woken = 0;
		saw = open_closed;
		d_step {
			!qheld;
			use_kqueue();
			saw = (saw || pending > 0)
		};
		if
		:: saw -> break
		:: else -> poller_woken
		fi
	od;
	skip;
	d_step {
		poller_on = 0;
		poller_woken = 0;
		saw = 0;
		files--
	};
	goto call;
done:
	running--
}

proctype irq() {
end_irq:
	do
	:: d_step { poke_queued -> poke_queued = 0; poke_runs = 1 };
		d_step {
			use_kqueue();
			if :: poller_on -> poller_woken = 1 :: else fi
		};
		poke_runs = 0
	od
}
#endif

/* ---- register.rs ---- */

inline add(k) {
	d_step {
		kn[k].born = 1;
		kn[k].status = INFLUX;
		kn[k].arc = INHAND;
		kn[k].refs = 1;
#if TO != FLAGS
		kn[k].kflags = FLAGS;
#endif
		kn[k].credit = 1;
		kqrefs++
	};
	/* f_attach */
	d_step { !head[OBJ(k)]; kn[k].hooked = 1 };
	d_step {
		holds = cond[OBJ(k)];
		kn[k].unseen = holds
	};
	/* FileTable::remember */
	d_step { kn[k].filed = 1; kn[k].refs++ };
	d_step {
		won = !index_closed;
		if :: won -> kn[k].indexed = 1; kn[k].refs++ :: else fi
	};
	if
	:: !won ->
		d_step { drops = 1 + kn[k].filed; kn[k].filed = 0 };
		f_detach(k);
		d_step { kn[k].arc = GONE; knote_put(k, drops); drops = 0 }
	:: else ->
		won = 0;
#ifndef BUG_SLOT_NOT_LOOKED_AT
#ifndef BUG_SLOT_USED_AGAIN
		/* A close may have taken it: the slot may hold the file again. */
		ok = !kn[k].filed;
#endif
		if
		:: ok || slot[OBJ(k)] -> end(k)
		:: else
		fi;
		ok = 0;
#endif
		/* begin */
		d_step {
			!qheld;
			use(k);
			if :: holds -> set(k, ACTIVE); kn[k].told++ :: else fi;
			put(k, queued, drop);
			if :: queued -> wake_pollers() :: else fi
		};
		if
		:: queued -> wake_waiter()
		:: drop -> d_step { knote_put(k, 1) }
		:: else
		fi;
		queued = 0
	fi;
	won = 0;
	drop = 0;
	holds = 0
}

/* `ok': it was there to be changed. */
inline modify(k) {
	d_step {
		!qheld;
		use(k);
		ok = !is(k, DROPPED);
		queued = 0;
		holds = 0;
		if
		:: ok ->
			/* f_touch */
			assert(!kn[k].detached);
			if
			:: kind == ADD ->
				kn[k].off = 0;
				set(k, TOUCHED);
				/* The one that is in hand, and one after that. */
				kn[k].credit = 1 + (is(k, INFLUX) && kn[k].credit > 0);
#if TO != FLAGS
				kn[k].kflags = TO;
				/* What was before the change is not counted. */
				kn[k].told = (is(k, ACTIVE) > 0);
#endif
#if ADDS & CLEAR
				/* It is to be told anew. */
				kn[k].told = kn[k].told + (is(k, INFLUX) > 0);
#endif
				unset(k, DISABLED)
			:: kind == DISABLE -> set(k, DISABLED)
			:: kind == ENABLE ->
				kn[k].off = 0;
				kn[k].credit = kn[k].credit || (FLAGS & DISPATCH);
				unset(k, DISABLED)
			fi;
#if !EVALUATED
			unset(k, ACTIVE);
			if :: cond[OBJ(k)] -> set(k, ACTIVE) :: else fi;
#endif
			if
			:: is(k, ACTIVE | DISABLED) == ACTIVE ->
				enqueue(k, queued);
				if :: queued -> wake_pollers() :: else fi
			:: else ->
				dequeue(k, drop);
#ifndef BUG_NOT_PARKED
				if :: drop -> park(k) :: else fi;
#endif
				drop = 0;
				holds = EVALUATED
			fi
		:: else
		fi
	};
	if
	:: queued -> wake_waiter()
	:: else
	fi;
	queued = 0;
	if
	:: ok && holds ->
		/* f_event */
		d_step { use(k); holds = cond[OBJ(k)] };
		if :: holds -> activate(k) :: else fi
	:: else
	fi;
	holds = 0
}

#if CHANGES
proctype changer() {
	byte changes = CHANGES, kind, at, drops;
	bit queued, seen, holds, ok, was, won, drop;

	do
	:: changes == 0 -> break
	:: changes > 0 ->
		atomic {
			if
			:: !fd_open -> break
			:: fd_open && (KINDS & ADD) -> kind = ADD
			:: fd_open && (KINDS & DELETE) -> kind = DELETE
			:: fd_open && (KINDS & DISABLE) -> kind = DISABLE
			:: fd_open && (KINDS & ENABLE) -> kind = ENABLE
			:: fd_open -> changes = 0; break
			fi;
			changes--;
			files++
		};
		if
		:: slot[0] -> goto next		/* EBADF */
		:: else
		fi;
find:
	skip;
		d_step {
			use_kqueue();
			at = 0;
			do
			:: at < KNOTES && !(kn[at].indexed && OBJ(at) == 0) -> at++
			:: else -> break
			od;
			if
			:: at < KNOTES ->
				kn[at].refs++;
				deleted = (deleted || kind == DELETE)
			:: else
			fi
		};
		if
		:: at < KNOTES && kind == DELETE ->
			end(at)
		:: at < KNOTES && kind != DELETE ->
			modify(at);
			if
			:: !ok ->
				end(at);
				d_step { knote_put(at, 1); at = 0 };
				goto find
			:: else
			fi
		:: at == KNOTES && kind == ADD ->
			/* A place for a new one. */
			d_step {
				at = 0;
				do
				:: at < KNOTES && kn[at].born -> at++
				:: else -> break
				od;
				ok = 0
			};
			if
			:: at < KNOTES -> add(at)
			:: else
			fi;
			at = KNOTES
		:: else
		fi;
		if
		:: at < KNOTES ->
			d_step {
				/* What the program can rely on from here. */
				kn[at].ended = (kn[at].ended || kind == DELETE);
				kn[at].off = (kn[at].off || kind == DISABLE);
				knote_put(at, 1)
			}
		:: else
		fi;
next:
	skip;
		d_step { at = 0; ok = 0; kind = 0; files-- }
	od;
	running--
}
#endif

/* ---- filetable.rs, probe.rs: the close hook ---- */

#if CLOSER
proctype closer() {
	byte k, drops;
	bit taken[KNOTES], was, won;

	if
	:: true -> goto done
	:: true
	fi;
	/* The slot is emptied. */
	d_step { deleted = 1; slot[0] = 1 };
	/* The probe is called if it is armed, with preemption off. */
	atomic {
		if
		:: disarmed -> goto done
		:: else -> in_probe++
		fi
	};
	d_step {
		text();
		do
		:: k < KNOTES ->
			/* Those whose slot holds the file again stay. */
			if
			:: kn[k].filed && OBJ(k) == 0 && slot[0] -> taken[k] = 1; kn[k].filed = 0
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	};
#if DUP
	/* dup2(2) by yet another thread. */
	if
	:: slot[0] = 0
	:: true
	fi;
#endif
	do
	:: k < KNOTES ->
		if
		:: taken[k] ->
			end(k);
			d_step {
				kn[k].ended = 1;
				knote_put(k, 1);
				taken[k] = 0
			}
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	/* The return, which is the module's too. */
	d_step { text(); in_probe-- };
done:
	running--
}
#endif

/* ---- device.rs, and the end of the module ---- */

inline close() {
	open_closed = 1;
	d_step {
		!qheld;
		use_kqueue();
		wake_pollers();
		closed = 1
	};
	index_closed = 1;
	k = 0;
	do
	:: k < KNOTES ->
		/* take_one */
		d_step { won = kn[k].indexed; kn[k].indexed = 0 };
		if :: won -> end_taken(k) :: else fi;
		won = 0;
		k++
	:: else -> break
	od;
	k = 0;
	/* wake_all */
	d_step {
		use_kqueue();
		if :: onq[0] && asleep[0] -> onq[0] = 0; asleep[0] = 0 :: else fi;
#if SCANNERS > 1
		if :: onq[1] && asleep[1] -> onq[1] = 0; asleep[1] = 0 :: else fi
#endif
	};
#ifndef BUG_NO_IRQ_WORK_SYNC
	!poke_queued && !poke_runs
#endif
}

proctype kqcloser() {
	byte k, drops;
	bit was, won;

	/* Not left open: else nobody would ever be quiet. */
	if
	:: true -> quiet
	:: EARLY
	fi;
	fd_open = 0;
	/* flush */
	close();
	files--;
	/* release, of the last holder; then the module is let go. */
	files == 0;
	close();
	d_step { kqueue_put() };
	/* rmmod */
	disarmed = 1;
#ifndef BUG_UNLOAD_DOES_NOT_WAIT
	in_probe == 0;
#endif
	unloaded = 1;
	d_step {
		assert(kqfreed);
		do
		:: k < KNOTES -> assert(!kn[k].born || kn[k].freed); k++
		:: else -> break
		od;
		k = 0
	}
}

/* When nobody can take a step. */
proctype monitor() {
	byte k;
	bit sleeper;

	timeout;
	d_step {
		sleeper = (onq[0] && asleep[0]);
#if SCANNERS > 1
		sleeper = sleeper || (onq[1] && asleep[1]);
#endif
		/* Who is not done sleeps, on one queue or the other: no deadlock. */
		assert(running == (onq[0] && asleep[0]) + poller_on
#if SCANNERS > 1
			+ (onq[1] && asleep[1])
#endif
			);
		/* No lost wake-up. */
		assert(!sleeper || (count == 0 && !closed));
		assert(!poller_on || (count == 0 && !closed));
		assert(!poke_queued && !poke_runs && !qheld);
		do
		:: k < KNOTES ->
			if
			:: kn[k].indexed ->
				assert(!is(k, INFLUX | DROPPED));
				assert(kn[k].hooked && !kn[k].detached);
				assert(!closed);
				/* Active and enabled is queued, and so is what is level-triggered. */
				assert(is(k, ACTIVE | DISABLED) != ACTIVE || is(k, QUEUED));
				assert(!is(k, QUEUED) == (kn[k].arc == PARKED));
				assert(kn[k].refs == 2 + kn[k].filed);
				/* No lost event. */
				assert(!kn[k].unseen || is(k, DISABLED | QUEUED));
				assert(!cond[OBJ(k)] || COUNTED || is(k, DISABLED | QUEUED));
				/* No knote outlives its descriptor. */
				assert(!slot[OBJ(k)] && kn[k].filed)
			:: !kn[k].indexed && kn[k].born ->
				assert(kn[k].freed);
				/* No registration is lost. */
				assert(closed || deleted || (FLAGS & ONESHOT && kn[k].credit == 0)
#if ADDS & ONESHOT
					|| kn[k].through
#endif
					)
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	};
	quiet = 1
}

init {
	byte k;

	atomic {
		do
		:: k < BORN ->
			kn[k].born = 1;
			kn[k].arc = PARKED;
			kn[k].refs = 3;
			kn[k].indexed = 1;
			kn[k].filed = 1;
			kn[k].hooked = 1;
#if TO != FLAGS
			kn[k].kflags = FLAGS;
#endif
			kn[k].credit = 1;
			k++
		:: else -> break
		od;
		k = 0;
		running = SCANNERS + ACTIVATORS + (POLLS > 0) + (CHANGES > 0) + CLOSER;
		run activator(0);
#if ACTIVATORS > 1
		run activator(1 % OBJECTS);
#endif
		run scanner(0);
#if SCANNERS > 1
		run scanner(1);
#endif
#if POLLS
		run poller();
#endif
#if CHANGES
		run changer();
#endif
#if CLOSER
		run closer();
#endif
#if POLLS
		run irq();
#endif
		run kqcloser();
		run monitor()
	}
}
