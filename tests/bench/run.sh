#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measure what things cost with a kqueue and with what one would use without, in virtual
# machines, and compare that with what was reached before (ratios.tsv). Prints a table,
# a line as a test does for each ratio, and how many those were. Writes to build/:
#
#   bench.tsv   the table
#   bench-*.svg how costs grow
#
# usage: tests/bench/run.sh [--build]
#
#   --build     only build the programs
set -uo pipefail
here=$(dirname "$(realpath "$0")")
cd "$here/../.." || exit
out=build/bench

# The user-space library of that name, as Debian's experimental packages have it; it is
# kept in the cache. Prints where, or fails and says why.
libkqueue() {
	local dir=$KQUEUE_CACHE/libkqueue
	[[ ! -e $dir/.complete ]] || { echo "$dir"; return; }
	rm -rf "$dir"
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	cp -L /etc/resolv.conf "$KQUEUE_ROOT/etc/resolv.conf"
	# From where the root's own packages come. A mirror may be some weeks behind.
	sed -n "s/^\(deb .*\) [a-z]* main\$/\1 experimental main/p" \
		"$KQUEUE_ROOT/etc/apt/sources.list" | head -n 1 >"$dir/sources.list"
	# shellcheck disable=SC2016 # for the inner shell
	scripts/in-root sh -ec '
		cd "$1"
		apt() {
			command=$1
			shift
			"$command" -q -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=- \
				-o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD" \
				-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false "$@"
		}
		apt apt-get update
		library=$(apt apt-cache depends libkqueue-dev | sed -n "s/^ *Depends: //p")
		apt apt-get download libkqueue-dev $library
		for package in *.deb; do
			dpkg-deb -x "$package" .
		done
		touch .complete' sh "$dir" >"$out/libkqueue.log" 2>&1 </dev/null &&
		echo "$dir"
}

paths=$(scripts/setup) || exit
eval "$paths"
export KQUEUE_CACHE KQUEUE_ROOT KQUEUE_KERNEL KQUEUE_KDIR KQUEUE_KVER
mkdir -p "$out"
rm -f build/bench.tsv build/bench-*.svg "$out/costs"
# What cannot be had there is left out, and the table says so.
library=$(libkqueue) || library=
scripts/in-root make -s -C tests/bench O="$PWD/$out" LIBDIR="$PWD/build" LIBKQUEUE="$library" || exit
[[ $library ]] || rm -f "$out/bench-libkqueue"
cp build/kqueue.ko "$out"
[[ ${1:-} != --build ]] || exit 0

# machine OPTION... -- COMMAND: what it prints are costs.
machine() {
	scripts/vm run --share "$out" "$@" >>"$out/costs" || {
		tail -n 3 "$out/costs"
		echo "the benchmark has failed: vm run $*"
		exit 1
	}
}
# Closes first, while the module was never loaded; and with a kqueue in another process.
machine --icount --no-load -- sh -ec '
	cd /mnt/bench
	./bench close close_idle peer
	insmod kqueue.ko
	./bench close close_idle kqueue
	./bench hold >/tmp/holds &
	until grep -q holding /tmp/holds; do sleep 0.1; done
	./bench close close_elsewhere kqueue
	kill $!'
machine --icount -- /mnt/bench/bench counted
machine --cpus 2 -- /mnt/bench/bench threads
if [[ $library ]]; then
	# What it cannot do, its log says.
	scripts/vm run --share "$out" --icount -- timeout 300 /mnt/bench/bench-libkqueue counted \
		>>"$out/costs" 2>"$out/libkqueue.log"
else
	echo "libkqueue is left out: $(tail -n 1 "$out/libkqueue.log")"
fi
scripts/in-root python3 tests/bench/table.py "$out/costs" tests/bench/ratios.tsv build
