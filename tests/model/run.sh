#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Check the model ready.pml with spin(1): each configuration is gone through
# to the end, and holds. Then known bugs are put in, one at a time, and each
# has to be found. A line a configuration and a bug; a trace of what was not
# expected.
#
# usage: run.sh OUTDIR [NAME...]     NAMEs of configurations or bugs; all
set -uo pipefail
model=$(dirname "$(realpath "$0")")/ready.pml
out=$1
shift
only=" $* "
mkdir -p "$out" || exit 1
out=$(realpath "$out")

# The flags of events, and the kinds of changes, as in the model.
level=0 oneshot=1 clear=2 dispatch=4
add=1 delete=2 disable=4 enable=8

declare -A options
options=(
	# A level-triggered knote, deleted at any time.
	[level]="FLAGS=$level CHANGES=1 KINDS=$delete"
	# One event, or the close of the descriptor; a store fails.
	[oneshot]="FLAGS=$oneshot CLOSER=1 FAULTS=1"
	# One event, or EV_DELETE.
	[delete]="FLAGS=$oneshot CHANGES=1 KINDS=$delete"
	# Added anew while it is ready, in hand, delivered.
	[readd]="FLAGS=$oneshot KNOTES=2 BORN=1 OBJECTS=1 ACTIVATORS=1 CHANGES=1 KINDS=$add"
	# Edges; the kqueue is closed at any time.
	[clear]="FLAGS=$clear EARLY=1"
	# Edges that a filter keeps, taken back after a fault; disabled, or deleted.
	[told]="FLAGS=$clear EVALUATED=0 FAULTS=1 CHANGES=1 KINDS=$((delete | disable))"
	# Disabled by its event, enabled by the program.
	[dispatch]="FLAGS=$dispatch CHANGES=1 KINDS=$((disable | enable))"
	# Two knotes and room for one event: who leaves one wakes another thread, and may
	# not come back. A sleep ends by a signal or the time.
	[rooms]="FLAGS=$level KNOTES=2 ROOM=1 SIGNALS=1 LEAVES=1"
	# Two in a batch, and in two batches; a fault in either.
	[batch]="FLAGS=$clear KNOTES=2 ROOM=2 FAULTS=1 LEAVES=1"
	[batches]="FLAGS=$clear KNOTES=2 ROOM=2 BATCH=1 FAULTS=1"
	# Somebody polls; the irq_work, and the close that waits for it.
	[poll]="FLAGS=$level SCANNERS=1 ACTIVATORS=1 POLLS=2 LEAVES=1 EARLY=1"
	# Registered while the descriptor is closed, and the kqueue.
	[add]="FLAGS=$level SCANNERS=1 BORN=0 CHANGES=1 KINDS=$add CLOSER=1"
	# The same, and a dup puts the file back in its slot.
	[again]="FLAGS=$level SCANNERS=1 BORN=0 CHANGES=1 KINDS=$add CLOSER=1 DUP=1"
	[addclose]="FLAGS=$level SCANNERS=1 ACTIVATORS=1 BORN=0 CHANGES=1 KINDS=$add EARLY=1"
	# The module goes, while somebody is in the close hook.
	[unload]="FLAGS=$level SCANNERS=1 ACTIVATORS=1 CLOSER=1 EARLY=1"
	# Nobody goes round for ever without delivering or sleeping.
	[progress]="FLAGS=$level"
	# A level-triggered knote that is disabled while it is in hand, with an event or none.
	[disable]="FLAGS=$level CHANGES=1 KINDS=$disable"
	# ... and one that is added anew, and is for edges then.
	[change]="FLAGS=$level TO=$clear CHANGES=1 KINDS=$add"
	# The filter makes an event one of edges, or the last one, in spite of a change.
	[adds]="FLAGS=$level ACTIVATORS=1 ADDS=$clear CHANGES=1 KINDS=$add"
	[last]="FLAGS=$level ACTIVATORS=1 ADDS=$oneshot CHANGES=1 KINDS=$add"
	# A call that does not wait asks without the lock.
	[nowait]="FLAGS=$level NOWAITS=2 LEAVES=1"
	# The machine has the waker look who sleeps before it is seen to write.
	[weak]="FLAGS=$clear WEAK=1 EARLY=1"
	# Two end a knote at once.
	[twice]="FLAGS=$level SCANNERS=1 ACTIVATORS=1 CLOSER=1 CHANGES=1 KINDS=$delete"
)
order=(level oneshot delete readd clear told dispatch rooms batch batches poll add
	again addclose unload progress disable change adds last nowait weak twice)

# Which configuration finds which bug.
bugs=(
	ACTIVE_LATE:clear		# ACTIVE is cleared after the filter was asked
	PUT_FORGETS_ACTIVE:clear	# what was activated in hand is not queued
	PUT_ALWAYS_QUEUES:progress	# ... and what was not, is
	NO_HANDOVER:rooms		# a scan that leaves something wakes nobody
	WAKE_TEST_EARLY:clear		# the waker looks who sleeps before it queues
	LOOK_BEFORE_QUEUE:clear		# the sleeper looks before it is to be seen
	SIGNAL_BEFORE_SCAN:rooms	# who was woken looks at signals first
	NO_WAKE_AFTER_FAULT:batch	# what is put back wakes nobody
	NO_UNPROCESS:told		# the filter does not take back
	COUNT_AT_COPY:delete		# an event counts when it is copied
	ONESHOT_LATE:oneshot		# DROPPED is not set where the event counts
	NO_TOUCHED:readd		# EV_ADD of what is in hand is forgotten
	NOT_PARKED:dispatch		# what is taken off the list is not parked
	END_BY_TWO:twice		# who ends it is not told by the table
	DETACH_BEFORE_DROPPED:told	# unhooked while it may still be changed, taken
	DETACH_DOES_NOT_WAIT:delete	# ... while a callback runs
	DETACH_LOCKED:delete		# ... under the queue lock
	NO_POKE_AFTER_SCAN:poll		# what is queued again tells no poller
	NO_IRQ_WORK_SYNC:poll		# the close does not wait for the irq_work
	SLOT_NOT_LOOKED_AT:add		# the descriptor was closed before the insertion
	UNLOAD_DOES_NOT_WAIT:unload	# the module goes under the close hook
	SECOND_ENDER:twice		# who ends it second returns first
	LEVEL_THOUGH_DROPPED:level	# the short cut queues what was deleted in hand
	LEVEL_THOUGH_DISABLED:disable	# ... or disabled
	LEVEL_THOUGH_TOUCHED:change	# ... or was added anew, for edges
	LEVEL_BY_KNOTE:adds		# ... goes by the flags of the knote, not of the event
	IDLE_THOUGH_ACTIVE:level	# the other parks what was activated in hand
	IDLE_THOUGH_DROPPED:level	# ... or deleted
	IDLE_THOUGH_DISABLED:disable	# ... or disabled, which is forgotten
	LAST_IS_TOUCHED:last		# EV_ADD keeps what the filter is through with
	ONE_STOPS:rooms			# a scan ends with the first one, which had no event
	COUNT_LATE:nowait		# what is queued is counted after the lock
	ASK_WITHOUT_LOCK:weak		# the sleeper looks as has_nothing() does
	SLOT_USED_AGAIN:again		# closed, and in its slot again, before the insertion
)

# run NAME CONFIGURATION DEFINE...: true if all was gone through and nothing found.
# 1: something was found. 2: it did not come to an end.
run() {
	local name=$1 config=$2 option defines=() compile=(-DSAFETY -O2) check=()
	shift 2
	for option in ${options[$config]} "$@"; do
		defines+=("-D$option")
	done
	if [[ $config == progress ]]; then
		compile=(-DNP -DNFAIR=3 -O2)
		check=(-l -f)
	fi
	# A bug is found long before what is checked has paid for its being made fast.
	[[ $name == "$config" ]] || compile+=(-O0)
	rm -rf "${out:?}/$name"
	mkdir "$out/$name"
	cd "$out/$name" || return 2
	# A copy, as the trail goes where the model is.
	cp "$model" . || return 2
	spin -a "${defines[@]}" ready.pml >log 2>&1 &&
		gcc -w "${compile[@]}" -DMEMLIM=1800 -DVECTORSZ=512 -o pan pan.c >>log 2>&1 || return 2
	./pan -m100000 "${check[@]}" >pan.log 2>&1
	if ! grep -q 'errors: 0$' pan.log; then
		grep -q 'errors: [1-9]' pan.log || return 2
		# The steps that lead there, of what is not to be.
		[[ $name != "$config" ]] || spin -t -p "${defines[@]}" ready.pml >trace 2>&1
		return 1
	fi
	! grep -qE 'aborted|max search depth too small|reached -DMEMLIM' pan.log || return 2
	rm pan pan.?
}

wanted() { [[ $only == "  " || $only == *" $1 "* ]]; }

failed=0
# report NAME STATUS EXPECTED WHAT
report() {
	if (($2 == $3)); then
		echo "ok - model: $4"
	else
		tail -n 60 "$out/$1/trace" 2>/dev/null || tail -n 20 "$out/$1/pan.log" "$out/$1/log"
		echo "not ok - model: $4"
		failed=1
	fi
}

for config in "${order[@]}"; do
	wanted "$config" || continue
	start=$EPOCHREALTIME
	run "$config" "$config"
	status=$?
	states=$(sed -n 's/^ *\([0-9e.+]*\) states, stored.*/\1/p' "$out/$config/pan.log" | head -n 1)
	memory=$(sed -n 's/^ *\([0-9.]*\)\ttotal actual memory.*/\1/p' "$out/$config/pan.log" | head -n 1)
	report "$config" $status 0 "$config (${states:-?} states, $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms, ${memory:-?} MB)"
done
for bug in "${bugs[@]}"; do
	wanted "${bug%:*}" || continue
	run "bug-${bug%:*}" "${bug#*:}" "BUG_${bug%:*}"
	report "bug-${bug%:*}" $? 1 "finds ${bug%:*} in ${bug#*:}"
done
exit $failed
