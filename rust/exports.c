// SPDX-License-Identifier: GPL-2.0
/*
 * What other modules may use: kqueue(9), and the Rust crate.
 */
#include <linux/export.h>

#include "../include/linux/kqueue.h"

EXPORT_SYMBOL_GPL(__kqueue_add_filteropts);
EXPORT_SYMBOL_GPL(kqueue_del_filteropts);
EXPORT_SYMBOL_GPL(__kfilter_register);
EXPORT_SYMBOL_GPL(kfilter_unregister);
EXPORT_SYMBOL_GPL(kqfd_register);
EXPORT_SYMBOL_GPL(knote_activate);
EXPORT_SYMBOL_GPL(knlist_init);
EXPORT_SYMBOL_GPL(knlist_init_mutex);
EXPORT_SYMBOL_GPL(knlist_init_spin);
EXPORT_SYMBOL_GPL(knlist_add);
EXPORT_SYMBOL_GPL(knlist_remove);
EXPORT_SYMBOL_GPL(knlist_remove_inevent);
EXPORT_SYMBOL_GPL(knlist_empty);
EXPORT_SYMBOL_GPL(knlist_clear);
EXPORT_SYMBOL_GPL(knlist_delete);
EXPORT_SYMBOL_GPL(knlist_destroy);
EXPORT_SYMBOL_GPL(knote);
EXPORT_SYMBOL_GPL(knote_unlocked);

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
