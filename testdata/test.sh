#!/usr/bin/env bash
# Runs everything that CI runs: make test. Most of the time goes into emulated machines, of one thread each, which wait
# for a third of it. Hence three lanes for two processors, and a priority for each: a machine of the newest kernel in one,
# those of the others in one, and the other parts in one.
#
#   testdata/test.sh BUILD     BUILD is the folder for what is built and for the output of the other lanes
#
# What minds being kept waiting:
#   test-unit, soak  measure time, and make loads that tracer has to keep up with: they go first
#   7                preempts programs, the more so the less it has of a processor: next
#   the rest         does not
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

case $lane in
newest)
	machine 7
	exit
	;;
others)
	machine 5.10 && machine '6.1 6.12' # two at once: by then the tests of this kernel are done
	exit
	;;
esac

mkdir -p "$build"
target kernel-tests || exit 1
# Each in a process group of its own, so that all of it can be ended.
setsid "$0" "$build" newest >"$build/newest" 2>&1 &
newest=$!
setsid nice -n 10 "$0" "$build" others >"$build/others" 2>&1 &
others=$!
trap 'kill -- -$newest -$others 2>/dev/null; wait $newest $others; echo "the machines beside were ended; their output is in $build/newest and $build/others"' EXIT
# at runs a part at a priority of its own.
at() { (renice -n "$1" $BASHPID >/dev/null; "${@:2}"); }
at 10 target check && at 10 target fuzz && at -5 target test-unit && at -5 target soak SOAK=20s || exit 1
# By their process ids, whose status the shell keeps however early they have ended.
wait $newest
status=$?
wait $others
others=$?
trap - EXIT
cat "$build/newest" "$build/others"
[ $status = 0 ] && [ $others = 0 ] || exit 1
part "README's table" testdata/kernels.sh -T "$build/kernels"
