#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What a program compiles and links against, checked where it is compiled: the
# headers by themselves in every standard of C and C++, and the library's face.
# Prints TAP.
#
#   headers.sh INCLUDE-DIRECTORY LIBRARY-DIRECTORY
#
# CC may be set, and may be several words. A compiler that is not there is left
# out with a comment; a language that none of those that are there speaks is a
# failure.
#
# shellcheck disable=SC2086 # lists of words

set -u

if [ $# -ne 2 ]; then
	echo "usage: $0 INCLUDE-DIRECTORY LIBRARY-DIRECTORY" >&2
	exit 2
fi

include=$1
lib=$2
here=$(dirname "$0")
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
strict="-Wall -Wextra -Wpedantic -Werror"
count=0
failed=0

# try NAME COMMAND...: one test, passed where the command is silent and succeeds
try()
{
	name=$1
	shift
	count=$((count + 1))
	if "$@" >"$tmp/log" 2>&1 && [ ! -s "$tmp/log" ]; then
		echo "ok $count headers.$name"
	else
		failed=$((failed + 1))
		sed 's/^/# /' "$tmp/log"
		echo "not ok $count headers.$name"
	fi
}

# The header comes first, and all of it is used, in the oldest C there is.
cat >"$tmp/event.c" <<'END'
#include <sys/event.h>
#include <sys/event.h>

int drive(int kq, struct kevent *kev, void *udata);

int drive(int kq, struct kevent *kev, void *udata)
{
	EV_SET(kev, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
	       NOTE_TRIGGER | NOTE_FFCOPY | 0x3, 7, udata);
	if (kevent(kq, kev, 1, 0, 0, 0) < 0)
		return kqueue() + kqueue1(0) + kqueuex(KQUEUE_CLOEXEC);
	return (kev->flags & EV_ERROR) != 0;
}
END

# A run-time that makes its own system calls includes this one only.
cat >"$tmp/uapi.c" <<'END'
#include <linux/kqueue.h>

unsigned long request(struct kqueue_kevent *args, struct kqueue_create *create,
		      struct kfilter_mapping *map);

unsigned long request(struct kqueue_kevent *args, struct kqueue_create *create,
		      struct kfilter_mapping *map)
{
	args->flags = 0;
	create->flavour = KQUEUE_FLAVOUR_OPENBSD;
	map->filter = EVFILT_READ;
	return KQUEUE_IOC_KEVENT ^ KQUEUE_IOC_CREATE ^ KFILTER_BYNAME ^
	       KFILTER_BYFILTER;
}
END

# standard COMPILER NAME DRAFT: the name this compiler has for a standard. One
# that was there before the standard knows it by its draft's name.
standard()
{
	if echo 'int x;' | $1 -std="$2" -fsyntax-only - >/dev/null 2>&1; then
		echo "$2"
	else
		echo "$3"
	fi
}

have_c=no
have_cxx=no
for cc in gcc clang; do
	if ! command -v $cc >/dev/null; then
		echo "# $cc is not installed"
		continue
	fi
	have_c=yes
	for std in c89 c99 c11 c17 c23; do
		flag=$(standard "$cc -x c" $std c2x)
		for header in event uapi; do
			try "${header}_compiles_alone_${cc}_$std" \
			    $cc -std="$flag" $strict -I"$include" \
			    -fsyntax-only "$tmp/$header.c"
		done
	done
done

for cxx in g++ clang++; do
	if ! command -v $cxx >/dev/null; then
		echo "# $cxx is not installed"
		continue
	fi
	have_cxx=yes
	for std in c++98 c++11 c++14 c++17 c++20 c++23; do
		flag=$(standard "$cxx -x c++" $std c++2b)
		for header in event uapi; do
			try "${header}_compiles_alone_${cxx}_$std" \
			    $cxx -x c++ -std="$flag" $strict -I"$include" \
			    -fsyntax-only "$tmp/$header.c"
		done
	done
	# Without -lstdc++, which the program does not use and clang++ need not
	# find: what is asked is whether the calls have C linkage.
	sed 's/drive/main2/; $a int main(void) { return main2(0, 0, 0); }' \
		"$tmp/event.c" | sed 's/^int drive.*;$//' >"$tmp/main.cc"
	try "cxx_program_links_$cxx" \
	    $cxx -x c++ -I"$include" -o "$tmp/main" "$tmp/main.cc" -x none \
	    -nodefaultlibs "$lib/libkqueue.a" -lc
done

try "a_c_compiler_was_there" [ $have_c = yes ]
try "a_cxx_compiler_was_there" [ $have_cxx = yes ]

# What the README tells the reader to do.
try "bsd_program_builds_with_the_shared_library" \
    ${CC:-cc} -Wall -Wextra -Werror -I"$include" -o "$tmp/hello" \
    "$here/hello.c" -L"$lib" -lkqueue
try "bsd_program_builds_with_the_static_library" \
    ${CC:-cc} -Wall -Wextra -Werror -I"$include" -o "$tmp/hello" \
    "$here/hello.c" "$lib/libkqueue.a"

exports()
{
	nm -D --defined-only "$lib/libkqueue.so" | awk '$2 != "A" { print $3 }' |
		sed 's/@.*//' | LC_ALL=C sort | tr '\n' ' '
}
try "library_exports_the_four_calls_of_each_flavour_only" \
    [ "$(exports)" = "kevent kqueue $(printf '%s ' \
	kqueue1 kqueue1_as_freebsd kqueue1_as_macos kqueue1_as_netbsd \
	kqueue_as_freebsd kqueue_as_macos kqueue_as_netbsd \
	kqueuex kqueuex_as_freebsd kqueuex_as_macos kqueuex_as_netbsd)" ]

# A program of a flavour calls that flavour's functions, by the same names.
calls()
{
	${CC:-cc} -DKQUEUE_AS_"$1" -I"$include" -c -o "$tmp/hello.o" "$here/hello.c" &&
		nm -u "$tmp/hello.o" | grep -qx " *U $2"
}
try "program_as_freebsd_calls_freebsds_kqueue" calls FREEBSD kqueue_as_freebsd
try "program_as_netbsd_calls_netbsds_kqueue" calls NETBSD kqueue_as_netbsd
try "program_as_macos_calls_macoss_kqueue" calls MACOS kqueue_as_macos
try "program_as_nothing_calls_kqueue" calls NOTHING kqueue

soname()
{
	readelf -d "$lib/libkqueue.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p'
}
try "library_has_its_soname" [ "$(soname)" = libkqueue.so.0 ]

# Nothing to write to: no state that a fork, a thread or a signal could see.
state()
{
	nm "$lib/libkqueue.a" | awk '$2 ~ /^[bBdDcC]$/ { print $3 }'
}
try "library_keeps_no_state" [ -z "$(state)" ]

echo "1..$count"
[ $failed -eq 0 ]
