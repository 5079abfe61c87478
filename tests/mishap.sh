#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Whether the debug kernel finds each kind of mistake it is there for, and
# whether that fails a run: a module makes one of each (modules/mishap_main.c),
# all in one boot, and the kernel log is cut up into what each one left. A piece
# has to hold the report of its mistake and be judged as a run with that in its
# log would be. What comes without a mistake has to be judged well.
#
# usage: tests/mishap.sh
#
# Prints TAP. "make modules KERNEL=debug" comes before.
set -uo pipefail
cd "$(dirname "$(realpath "$0")")/.." || exit 1

# Each mistake and its report, in an order in which none hides the next: a
# report of lockdep's or KASAN's is the last of lockdep's. What leaks is known
# when the machine stops, whatever else was there before.
kinds=(
	'nothing '
	'sleep_in_atomic BUG: sleeping function called from invalid context'
	'rcu_without_lock WARNING: suspicious RCU usage'
	'list_corruption list_add double add'
	'free_active_timer ODEBUG: free active .* object type: timer_list'
	'free_active_work ODEBUG: free active .* object type: work_struct'
	'hung_task INFO: task .* blocked for more than'
	'soft_lockup BUG: soft lockup'
	'lock_inversion WARNING: possible circular locking dependency detected'
	'use_after_free BUG: KASAN: slab-use-after-free in use_after_free'
	'use_after_free_in_rust BUG: KASAN: slab-use-after-free in mishap_rust_read'
	'out_of_bounds BUG: KASAN: slab-out-of-bounds in out_of_bounds'
	'out_of_bounds_of_vmalloc BUG: KASAN: vmalloc-out-of-bounds in out_of_bounds_of_vmalloc'
	'rust_overflow attempt to add with overflow'
	'rust_assertion an odd number'
	'leak kmemleak: [0-9]+ new suspected memory leaks'
)
names=("${kinds[@]%% *}")
log=build/debug/mishap.log
ok=0 number=0

# usage: result CONDITION NAME
result() {
	number=$((number + 1))
	if (($1)); then
		echo "ok $number mishap.$2"
	else
		echo "not ok $number mishap.$2"
		ok=1
	fi
}

echo "TAP version 13"
echo "1..$((${#kinds[@]} + 3))"

# A Rust panic kills the task that is made to panic: each mistake has its own.
# shellcheck disable=SC2016 # for the machine
scripts/vm run --kernel debug --no-load --log "$log" --share build/debug/modules -- \
	sh -c '
		insmod /mnt/modules/mishap.ko || exit 1
		cd /proc/sys/kernel || exit 1
		echo 0 >panic_on_oops
		hung=$(cat hung_task_timeout_secs) soft=$(cat watchdog_thresh)
		for kind; do
			case $kind in
			hung_task) echo 2 >hung_task_timeout_secs ;;
			soft_lockup) echo 1 >watchdog_thresh ;;
			esac
			sh -c "echo $kind >/sys/kernel/debug/mishap"
			echo "$hung" >hung_task_timeout_secs
			echo "$soft" >watchdog_thresh
		done
		echo mishap: done >/dev/kmsg
	' sh "${names[@]}" >build/debug/mishap.out 2>&1
status=$?
result "$((status == 120))" "the_run_has_failed_with_120"
grep -qa 'mishap: done' "$log"
result "$((!$?))" "the_machine_has_survived"

piece=build/debug/mishap.piece
for kind in "${kinds[@]}"; do
	name=${kind%% *} report=${kind#* }
	# Up to the next one; the last has what the scan for leaks says.
	awk -v begins="mishap: $name begins" '
		/mishap: [a-z_]* begins/ { mine = index($0, begins) > 0 }
		mine' "$log" >"$piece"
	# What is left in the slab caches is another complaint.
	[[ $name != leak ]] || sed -i '/^.*vm: /d' "$piece"
	scripts/vm judge "$piece" 2>/dev/null
	judged=$?
	if [[ $report ]]; then
		grep -qaE "$report" "$piece"
		result "$((!$? && judged == 120))" "$name"
	else
		grep -q "mishap: $name ends" "$piece"
		result "$((!$? && judged == 0))" "$name"
	fi
done
sed -n '/vm: this is left in the slab caches/p' "$log" >"$piece"
scripts/vm judge "$piece" 2>/dev/null
result "$(($? == 120))" "left_in_the_slab_caches"
rm -f "$piece"
exit $ok
