#!/usr/bin/env bash
# Runs the tests of all packages on this kernel: make test-unit.
#
#   testdata/unit.sh BUILD     BUILD has tracer and the workloads in bin, and the lock of privileged tests
#
# Packages are built side by side; their tests run one after the other, as the privileged ones see what others do. A
# process that a test leaves behind must not hold the lock (-o). One to three tests that fail run once more, as those
# that measure time may when the machine has pauses. That they failed once is said.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1 out=$1/unit
export CI=${CI:-true} TRACER_BIN=$build/bin
tests() { go test -p 4 -exec "flock -o $build/one-at-a-time" -count 1 "$@"; }

tests ./... 2>&1 | tee "$out" && exit 0
# A line for each package that failed: it, and its tests. What is more than a test that failed is not tried again.
awk '
/^panic: |test timed out|\[build failed\]|\[setup failed\]/ { exit bad = 1 }
/^--- FAIL: / { names = names (names == "" ? "" : "|") $3; n++ }
/^(ok|FAIL|\?)[ \t]+[^ \t]/ {
	if ($1 == "FAIL") {
		if (names == "") { exit bad = 1 }
		print $2, names
	}
	names = ""
}
END { exit bad || n == 0 || n > 3 }' "$out" >"$out.again" || exit 1
while read -r package names; do
	tests -run "^($names)\$" "$package" || exit 1
	echo "failed once, and passed when run again: $package ${names//|/ }"
done <"$out.again"
