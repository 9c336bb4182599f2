#!/usr/bin/env bash
# Runs everything that CI runs: make test.
#
#   testdata/test.sh BUILD     BUILD is the folder for what is built and for the output of the other lanes
#
# First what minds being kept waiting, with nothing beside it: the tests on this kernel and the soak measure time and make
# loads that tracer has to keep up with. Then the emulated machines, of one thread each, which wait for a third of their
# time: two lanes of them for two processors, with the parts that mind nothing beside. 7 preempts programs, the more so
# the less it has of a processor, so it has a lane of its own.
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
target test-unit && target soak SOAK=20s && target demo || exit 1
# Each in a process group of its own, so that all of it can be ended.
setsid "$0" "$build" newest >"$build/newest" 2>&1 &
newest=$!
setsid nice -n 5 "$0" "$build" others >"$build/others" 2>&1 &
others=$!
trap 'kill -- -$newest -$others 2>/dev/null; wait $newest $others; echo "the machines beside were ended; their output is in $build/newest and $build/others"' EXIT
renice -n 10 $$ >/dev/null
target check && target fuzz || exit 1
# By their process ids, whose status the shell keeps however early they have ended.
wait $newest
status=$?
wait $others
others=$?
trap - EXIT
cat "$build/newest" "$build/others"
[ $status = 0 ] && [ $others = 0 ] || exit 1
part "README's table" testdata/kernels.sh -T "$build/kernels"
