#!/usr/bin/env bash
# What tracing programs that start costs: N short processes with nothing, with
# tracer exec, with libbpf-tools' execsnoop and with a bpftrace one-liner, in
# alternating order, and what each of them saw.
#
#   testdata/bench/exec.sh [N] [ROUNDS]     as root, beside ./tracer
#
# Times vary with whatever else the machine does: read ratios, of one run.
set -euo pipefail
n=${1:-20000} rounds=${2:-4}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
tool=
trap '[ -z "$tool" ] || kill -INT $tool 2>/dev/null || :; rm -rf "$work"' EXIT

# The load: vfork and exec, each process with its number as argument.
cat >"$work/storm.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	for (int i = 0, n = atoi(argv[1]); i < n; i++) {
		char number[16];
		int status;
		snprintf(number, sizeof(number), "%d", i);
		pid_t pid = vfork();
		if (pid == 0) {
			execl(argv[2], argv[2], number, NULL);
			_exit(1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
			return 1;
	}
}
C
cc -O2 -o "$work/storm" "$work/storm.c"
ln -s /bin/true "$work/storm-true"

declare -A start complete
start[tracer]='./tracer exec --json'
# The others need tracefs, in a mount namespace of their own.
tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'
echo 'tracepoint:syscalls:sys_enter_execve { join(args->argv); }' >"$work/exec.bt"
start[execsnoop]="unshare -m bash -c '$tracefs; exec stdbuf -oL execsnoop'"
start[bpftrace]="unshare -m bash -c '$tracefs; exec bpftrace $work/exec.bt'"
count() { # of different numbers that a tool saw
	case $1 in
	tracer) grep -o 'storm-true","[0-9]*"\]' "$2" ;;
	*) grep -o 'storm-true [0-9]*' "$2" ;;
	esac | sort -u | wc -l || :
}
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
storm() { # prints how long it took
	local a=$EPOCHREALTIME
	"$work/storm" "$n" "$work/storm-true"
	seconds "$a" "$EPOCHREALTIME"
}

# run NAME: one storm with a tool running. Appends: seconds, cpu seconds, peak KiB.
run() {
	local name=$1 out=$work/out.$1 err=$work/err.$1 took ticks
	: >"$out"
	bash -c "exec ${start[$name]}" >"$out" 2>"$err" &
	tool=$!
	for _ in $(seq 100); do # until it sees something
		/bin/true ready
		sleep 0.1
		[ ! -s "$out" ] || break
		kill -0 $tool 2>/dev/null || { tool=; return 1; }
	done
	took=$(storm)
	sleep 1.5
	ticks=$(awk '{ print $14 + $15 }' <(sed 's/.*) //; s/^/- - /' /proc/$tool/stat))
	echo "$took $(awk -v t="$ticks" 'BEGIN { print t / 100 }') $(awk '/VmHWM/ { print $2 }' /proc/$tool/status)" >>"$work/result.$name"
	kill -INT $tool
	wait $tool || :
	tool=
	complete[$name]="${complete[$name]:-} $(count "$name" "$out")"
}

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%s–%s", a, b }'; }

tools=tracer
for t in execsnoop bpftrace; do
	if command -v $t >/dev/null; then tools="$tools $t"; else echo "bench: no $t here: left out"; fi
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

echo "$n processes, $rounds rounds; time with the tool ÷ time without, just before and after"
printf '%-10s %-22s %-16s %-10s %s\n' tool 'time factor (spread)' 'CPU µs an exec' 'peak MiB' 'complete (each round)'
for t in $tools; do
	printf '%-10s %-22s %-16s %-10s %s\n' "$t" \
		"$(median <"$work/ratio.$t") ($(spread <"$work/ratio.$t"))" \
		"$(cut -d' ' -f2 "$work/result.$t" | median | awk -v n="$n" '{ printf "%.1f", $1 * 1e6 / n }')" \
		"$(cut -d' ' -f3 "$work/result.$t" | median | awk '{ printf "%.1f", $1 / 1024 }')" \
		"${complete[$t]}"
done
echo
echo "tracer's own account of the last round:"
tail -1 "$work/err.tracer"
awk -F'[:,}]' '{ for (i = 1; i < NF; i++) { if ($i ~ /"seen"/) seen = $(i + 1); if ($i ~ /"bpf_ns"/) ns = $(i + 1) } }
	END { if (seen) printf "in the kernel: %.0f ns an exec\n", ns / seen }' <(tail -1 "$work/err.tracer")

echo
echo "first event: start of the tool to the first line on its stdout, 10 starts, while programs start all the time"
(while [ -e "$work" ]; do /bin/true; sleep 0.002; done) &
noise=$!
for t in $tools; do
	for _ in $(seq 10); do
		a=$EPOCHREALTIME
		bash -c "exec ${start[$t]}" 2>/dev/null > >(read -r _ || :; echo "$EPOCHREALTIME" >"$work/first"; cat >/dev/null) &
		tool=$!
		for _ in $(seq 500); do [ ! -s "$work/first" ] || break; sleep 0.01; done
		kill -INT $tool 2>/dev/null || :
		wait $tool || :
		tool=
		seconds "$a" "$(cat "$work/first")" && echo
		: >"$work/first"
	done | median | awk -v t="$t" '{ printf "%-10s %.0f ms\n", t, $1 * 1000 }'
done
kill $noise
wait $noise 2>/dev/null || :

echo
./tracer exec --duration 10s --uid 4294967294 >/dev/null 2>"$work/idle" && echo "idle for 10 s, start included: $(tail -1 "$work/idle")"
echo "binary: $(stat -c %s tracer) bytes"
