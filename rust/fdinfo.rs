// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/fdinfo/FD` of a kqueue: what is in it, a line each.

use crate::{
    bindings,
    flavour::Flavour,
    kfilter,
    knote::{status, Knote},
    queue::Kqueue,
    wrap::task::{killed, relax},
};
use core::ptr;
use kernel::{c_str, prelude::*, seq_file::SeqFile, seq_print};

/// The names of the status bits.
const STATUS_NAMES: [(u16, &CStr); 5] = [
    (status::ACTIVE, c_str!(" active")),
    (status::QUEUED, c_str!(" queued")),
    (status::DISABLED, c_str!(" disabled")),
    (status::INFLUX, c_str!(" influx")),
    (status::DROPPED, c_str!(" dropped")),
];

impl Kqueue {
    /// Shows the kqueue. A chain of knotes at a time, so that a large one holds nobody up: what is
    /// added or deleted meanwhile may be shown or not. Process context.
    pub(crate) fn show(&self, m: &SeqFile) {
        let knotes = self.index().lock().len();
        let pending = self.queue().lock().count();
        show_counts(m, self.flavour(), knotes, pending);
        // A chain that is split goes on behind what is there: nothing of it is missed.
        let mut bucket = 0;
        while bucket < self.index().lock().buckets() && !is_full(m) && !killed() {
            let index = self.index().lock();
            for kn in index.bucket(bucket) {
                kn.show(m);
            }
            drop(index);
            bucket += 1;
            relax();
        }
    }
}

/// Shows how much is in a kqueue. Process context.
pub(crate) fn show_counts(m: &SeqFile, flavour: Flavour, knotes: usize, pending: usize) {
    seq_print!(m, "flavour:\t{}\n", flavour.name());
    seq_print!(m, "knotes:\t{knotes}\n");
    seq_print!(m, "pending:\t{pending}\n");
}

/// Whether the file's buffer is too small, and this will be called again with a larger one.
fn is_full(m: &SeqFile) -> bool {
    // SAFETY: `SeqFile` is transparent, and nobody else has it.
    unsafe { bindings::kq_seq_has_overflowed(ptr::from_ref(m).cast_mut().cast()) }
}

impl Knote {
    fn show(&self, m: &SeqFile) {
        // Copied, as interrupts are off under the lock.
        let (kev, request, status) =
            self.with_state(|st| (self.event(st), st.request(), st.status));
        let name = kfilter::name_of(self);
        seq_print!(
            m,
            "knote:\t{} {} flags {:#x} fflags {:#x} data {} udata {:#x} status",
            kev.ident,
            name,
            kev.flags,
            request.sfflags,
            request.sdata,
            kev.udata
        );
        for (bit, name) in STATUS_NAMES {
            if status & bit != 0 {
                seq_print!(m, "{}", name);
            }
        }
        seq_print!(m, "\n");
    }
}
