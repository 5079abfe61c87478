// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/fdinfo/FD` of a kqueue: what is in it, a line each.

use crate::{
    filter,
    knote::{status, Knote},
    queue::Kqueue,
};
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
        let (knotes, buckets) = {
            let index = self.index().lock();
            (index.len(), index.buckets())
        };
        let pending = self.queue().lock().count();
        seq_print!(m, "flavour:\t{}\n", self.flavour().name());
        seq_print!(m, "knotes:\t{knotes}\n");
        seq_print!(m, "pending:\t{pending}\n");
        for bucket in 0..buckets {
            let index = self.index().lock();
            for kn in index.bucket(bucket) {
                kn.show(m);
            }
        }
    }
}

impl Knote {
    fn show(&self, m: &SeqFile) {
        // Copied, as interrupts are off under the lock.
        let (kev, request, status) =
            self.with_state(|st| (self.event(st), st.request(), st.status));
        let name = filter::by_filter(kev.filter.into()).map_or(c_str!("?"), |kf| kf.name);
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
