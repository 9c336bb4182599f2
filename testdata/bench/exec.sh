#!/usr/bin/env bash
# What tracing programs that start costs: N short processes with nothing, with
# tracer exec, with libbpf-tools' execsnoop and with a bpftrace one-liner, in
# alternating order, and what each of them saw.
#
#   testdata/bench/exec.sh [N] [ROUNDS]     as root, beside ./tracer
#
# Times vary with whatever else the machine does: read ratios, of one run.
. "$(dirname "$0")/pairs.sh"

# The load: vfork and exec, each process with its number as argument.
compile <<'C'
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
ln -s /bin/true "$work/storm-true"
load() { "$work/storm" "$1" "$work/storm-true"; }

start[tracer]='./tracer exec --json'
echo 'tracepoint:syscalls:sys_enter_execve { join(args->argv); }' >"$work/exec.bt"
start[execsnoop]="unshare -m bash -c '$tracefs; exec stdbuf -oL execsnoop'"
start[bpftrace]="unshare -m bash -c '$tracefs; exec bpftrace $work/exec.bt'"
count() { # of different numbers that a tool saw
	case $1 in
	tracer) grep -o 'storm-true","[0-9]*"\]' "$2" ;;
	*) grep -o 'storm-true [0-9]*' "$2" ;;
	esac | sort -u | wc -l || :
}

pairs tracer execsnoop bpftrace
table 'an exec' processes

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
		kill -TERM $tool 2>/dev/null || :
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
