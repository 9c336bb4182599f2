# shellcheck shell=bash
# What the benchmarks of storms share, which source it: a storm with and without
# each tool, in alternating order. They say what they are about:
#
#   compile           the storm, from C on stdin, to $work/storm
#   start[TOOL]=…     how a tool is started; one that sees nothing says "ready"
#   load N            runs a storm of N, what happens in it has "storm" in its name
#   count TOOL FILE   prints what a tool saw of it
#
# then call pairs TOOL…, of which those that are not here are left out, and table.
set -euo pipefail
n=${1:-20000} rounds=${2:-4}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
tool=
trap '[ -z "$tool" ] || kill -TERM $tool 2>/dev/null || :; rm -rf "$work"' EXIT
declare -A start complete
# Other tools need tracefs: for use in a mount namespace of their own.
# shellcheck disable=SC2034 # used by who sources this
tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'

compile() { cc -O2 -x c -o "$work/storm" -; }
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%s–%s", a, b }'; }

storm() { # prints how long it took
	local a=$EPOCHREALTIME
	load "$n"
	seconds "$a" "$EPOCHREALTIME"
}

# run NAME: one storm with a tool running. Appends: seconds, cpu seconds, peak KiB.
run() {
	local name=$1 out=$work/out.$1 err=$work/err.$1 took ticks
	: >"$out"
	bash -c "exec ${start[$name]}" >"$out" 2>"$err" &
	tool=$!
	for _ in $(seq 100); do # until it sees something
		load 1
		sleep 0.1
		! grep -q 'storm\|ready' "$out" || break
		kill -0 $tool 2>/dev/null || { tool=; return 1; }
	done
	took=$(storm)
	sleep 1.5
	ticks=$(awk '{ print $14 + $15 }' <(sed 's/.*) //; s/^/- - /' /proc/$tool/stat))
	echo "$took $(awk -v t="$ticks" 'BEGIN { print t / 100 }') $(awk '/VmHWM/ { print $2 }' /proc/$tool/status)" >>"$work/result.$name"
	kill -TERM $tool
	wait $tool || :
	tool=
	complete[$name]="${complete[$name]:-} $(count "$name" "$out")"
}

pairs() {
	local t round order before after
	tools=$1
	shift
	for t; do
		if command -v "$t" >/dev/null || [ "$t" = empty ] || [[ ${start[$t]} == ./tracer* ]]; then tools="$tools $t"; else echo "bench: no $t here: left out"; fi
	done
	storm >/dev/null # warm
	for round in $(seq "$rounds"); do
		order=$tools
		[ $((round % 2)) = 1 ] || order=$(tr ' ' '\n' <<<"$tools" | tac | tr '\n' ' ')
		for t in $order; do
			before=$(storm)
			run "$t" || { echo "bench: $t does not start here: $(tail -1 "$work/err.$t")"; tools=${tools/ $t/}; continue; }
			after=$(storm)
			awk -v with="$(tail -1 "$work/result.$t" | cut -d' ' -f1)" -v a="$before" -v b="$after" \
				'BEGIN { printf "%.3f\n", with / ((a + b) / 2) }' >>"$work/ratio.$t"
		done
	done
}

# table UNIT WHAT: what became of WHAT, and tracer's account.
table() {
	local t
	echo "$n $2, $rounds rounds; time with the tool ÷ time without, just before and after"
	printf '%-10s %-22s %-24s %-10s %s\n' tool 'time factor (spread)' "CPU µs $1" 'peak MiB' 'complete (each round)'
	for t in $tools; do
		printf '%-10s %-22s %-24s %-10s %s\n' "$t" \
			"$(median <"$work/ratio.$t") ($(spread <"$work/ratio.$t"))" \
			"$(cut -d' ' -f2 "$work/result.$t" | median | awk -v n="$n" '{ printf "%.1f", $1 * 1e6 / n }')" \
			"$(cut -d' ' -f3 "$work/result.$t" | median | awk '{ printf "%.1f", $1 / 1024 }')" \
			"${complete[$t]}"
	done
	echo
	echo "tracer's own account of the last round:"
	tail -1 "$work/err.tracer"
	awk -F'[:,}]' -v n="$n" -v unit="$1" '{ for (i = 1; i < NF; i++) if ($i ~ /"bpf_ns"/) printf "in the kernel: %.0f ns %s\n", $(i + 1) / n, unit }' <(tail -1 "$work/err.tracer")
}
