#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Write to build/bench/profile.txt which functions the cases of the benchmark spend their
# instructions in, each time they do their thing.
#
# usage: tests/bench/profile/run.sh
#
# The module and the benchmark are built before: "make bench-programs".
set -euo pipefail
here=$(dirname "$(realpath "$0")")
cd "$here/../../.."
out=build/bench/profile
mkdir -p "$out"
scripts/in-root cc -O2 -Wall -Wextra -fvisibility=hidden -shared -fPIC -o "$out/plugin.so" "$here/plugin.c"
scripts/vm run --icount --plugin "$PWD/$out/plugin.so,out=$PWD/$out/counts" \
	--share build/bench -- sh -ec '
	/mnt/bench/bench profile
	cat /proc/kallsyms >/mnt/bench/profile/kallsyms' >"$out/cases"
python3 "$here/symbols.py" "$out/counts" "$out/kallsyms" "$out/cases" >build/bench/profile.txt
