// SPDX-License-Identifier: GPL-2.0
/*
 * Which blocks of kqueue.ko have been run, by whoever and in whatever context: what
 * the compiler's coverage calls write down. KCOV hands them to the task that asks, and
 * an interrupt's to nobody; here nobody has to ask.
 *
 * It is loaded first, and what has been run is read from /sys/kernel/debug/kqueue_coverage:
 * an offset in the module's text a line, and stays known when that is loaded anew.
 */
#include <linux/debugfs.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/seq_file.h>
#include <linux/string.h>

static unsigned long start;
static u8 seen[1 << 20];
static struct dentry *file;

/* The kernel with KCOV has one of the usual name; scripts/coverage calls it this. */
#ifdef CONFIG_KCOV
#define __sanitizer_cov_trace_pc kqueue_coverage
#endif

void __sanitizer_cov_trace_pc(void);

notrace void __sanitizer_cov_trace_pc(void)
{
	unsigned long at = (unsigned long)__builtin_return_address(0) - READ_ONCE(start);

	if (at < sizeof(seen) && !READ_ONCE(seen[at]))
		WRITE_ONCE(seen[at], 1);
}
EXPORT_SYMBOL(__sanitizer_cov_trace_pc);

static int module_comes(struct notifier_block *nb, unsigned long action, void *data)
{
	struct module *mod = data;

	if (action == MODULE_STATE_COMING && !strcmp(mod->name, "kqueue"))
		WRITE_ONCE(start, (unsigned long)mod->mem[MOD_TEXT].base);
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = module_comes };

static int seen_show(struct seq_file *m, void *unused)
{
	unsigned long at;

	for (at = 0; at < sizeof(seen); at++)
		if (READ_ONCE(seen[at]))
			seq_printf(m, "%lx\n", at);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(seen);

static int __init coverage_init(void)
{
	int ret = register_module_notifier(&notifier);

	if (!ret)
		file = debugfs_create_file("kqueue_coverage", 0400, NULL, NULL, &seen_fops);
	return ret;
}

static void __exit coverage_exit(void)
{
	debugfs_remove(file);
	unregister_module_notifier(&notifier);
}

module_init(coverage_init);
module_exit(coverage_exit);

MODULE_DESCRIPTION("Which blocks of kqueue.ko have been run");
MODULE_LICENSE("GPL");
