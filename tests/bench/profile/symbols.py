#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Print which functions the instructions counted by plugin.c are in.

usage: symbols.py COUNTS KALLSYMS CASES

COUNTS has an address and a count a line, and "end" after each case; KALLSYMS is
/proc/kallsyms of the guest; CASES are what the benchmark has printed: the cases, the way it
was done, and how often. What is printed are instructions each time.
"""

import bisect
import collections
import sys


def read_symbols(path):
    symbols = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            addr, kind, name, *module = line.split()
            if kind in "tTwW":
                symbols.append((int(addr, 16), " ".join([name, *module])))
    return sorted(symbols)


def read_counts(path, symbols):
    """The instructions in each function, for each case."""
    addresses = [addr for addr, _ in symbols]
    total = collections.Counter()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line == "end\n":
                yield total
                total = collections.Counter()
                continue
            addr, count = line.split()
            at = int(addr, 16)
            name = "(the program)"
            if at >> 63:
                name = symbols[bisect.bisect(addresses, at) - 1][1]
            total[name] += int(count)


def main(counts, kallsyms, cases):
    with open(cases, encoding="utf-8") as file:
        names = [line.split("\t") for line in file]
    for (case, way, times), total in zip(names, read_counts(counts, read_symbols(kallsyms))):
        each = 1 / float(times)
        print(f"{case}, {way}: {total.total() * each:.1f}")
        for name, count in total.most_common():
            if count * each >= 0.5:
                print(f"{count * each:10.1f}  {name}")
        print()


if __name__ == "__main__":
    main(*sys.argv[1:])
