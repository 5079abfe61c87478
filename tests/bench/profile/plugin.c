// SPDX-License-Identifier: GPL-2.0
/*
 * A plug-in for QEMU that counts how often each instruction of the guest is executed
 * between two markers. With it goes the profile of a case: see Documentation/performance.rst.
 *
 * A marker is an instruction that does nothing, with a number in it that no compiler
 * would choose: see bench.h.
 *
 * Debian has no package with the header of this interface: what is used of it is
 * declared here, as of its version 2.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t len);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
		void (*translated)(plugin_id id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
		void (*executed)(unsigned int cpu, void *data), int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
		void (*executed)(unsigned int cpu, void *data), int flags, void *data);
void qemu_plugin_register_atexit_cb(plugin_id id,
		void (*exits)(plugin_id id, void *data), void *data);

#define EXPORT	__attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 2;

/* The last byte but three tells which: switch the counting, or end a case. */
static const unsigned char marker[] = { 0x0f, 0x1f, 0x80, 0xfe, 0xca, 0xef, 0x7e };
#define WHICH	3
#define SWITCH	0xfe
#define CASE	0xff

/* Instructions that are translated, and executed, together. */
static struct block {
	uint64_t count;
	struct block *next;
	size_t n;
	uint64_t addr[];
} *blocks;

static bool counting;
static FILE *out;

static void switch_counting(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	counting = !counting;
}

static void end_case(unsigned int cpu, void *data)
{
	struct block *block;
	size_t i;

	(void)cpu;
	(void)data;
	for (block = blocks; block; block = block->next) {
		for (i = 0; block->count && i < block->n; i++)
			fprintf(out, "%" PRIx64 " %" PRIu64 "\n", block->addr[i],
				block->count);
		block->count = 0;
	}
	fputs("end\n", out);
}

static void executed(unsigned int cpu, void *data)
{
	(void)cpu;
	((struct block *)data)->count += counting;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	unsigned char code[sizeof(marker)];
	struct block *block = malloc(sizeof(*block) + n * sizeof(block->addr[0]));

	(void)id;
	if (!block)
		abort();
	block->count = 0;
	block->n = n;
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		unsigned char which;

		block->addr[i] = qemu_plugin_insn_vaddr(insn);
		if (qemu_plugin_insn_data(insn, code, sizeof(code)) != sizeof(code))
			continue;
		which = code[WHICH];
		code[WHICH] = SWITCH;
		if (memcmp(code, marker, sizeof(code)))
			continue;
		qemu_plugin_register_vcpu_insn_exec_cb(insn,
			which == CASE ? end_case : switch_counting, 0, NULL);
	}
}

static void exits(plugin_id id, void *data)
{
	(void)id;
	(void)data;
	fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = fopen(argv[0] + 4, "w");
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, exits, NULL);
	return 0;
}
