#!/usr/bin/env bash
# Runs everything that CI runs: make test. Most of the time goes into emulated machines, of one thread each, hence two
# lanes for two processors: machines alone in one, the other parts and two more machines in the other.
#
#   testdata/test.sh BUILD     BUILD is the folder for what is built and for the output of the first lane
#
# What may run beside what:
#   check, fuzz      beside anything but the tests that measure time; at a low priority, so that a machine keeps its
#                    processor
#   7                preempts programs, the more so the less it has of a processor: beside check, fuzz and one machine
#   5.10             minds least: beside the tests of this kernel, which wait for half of their time
#   test-unit, soak  measure time: beside one machine
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1 lane=${2:-}

# part runs one part and tells what it took: on a machine that is shared processor time says more than time.
part() {
	TIMEFORMAT="$1 took %0R s (processors: %0U s + %0S s)"
	shift
	time "$@"
}

target() { part "$1" "${MAKE:-make}" --no-print-directory "$@"; }

machine() { part "kernel $1" testdata/kernels.sh -q -k "$1" "$build/kernels"; }

if [ "$lane" = machines ]; then
	machine 7 && machine 5.10
	exit
fi

mkdir -p "$build"
target kernel-tests || exit 1
# In a process group of its own, so that all of it can be ended.
setsid "$0" "$build" machines >"$build/machines" 2>&1 &
machines=$!
trap 'kill -- -$machines 2>/dev/null; wait $machines; echo "the machines beside were ended; their output is in $build/machines"' EXIT
for run in 'nice target check' 'nice target fuzz' 'machine 6.1' 'target test-unit' 'target soak SOAK=20s' 'machine 6.12'; do
	if [ "${run%% *}" = nice ]; then
		(renice -n 10 $BASHPID >/dev/null; ${run#nice }) || exit 1
	else
		$run || exit 1
	fi
done
# By its process id, whose status the shell keeps however early it has ended.
wait $machines
status=$?
trap - EXIT
cat "$build/machines"
[ $status = 0 ] || exit 1
part "README's table" testdata/kernels.sh -T "$build/kernels"
