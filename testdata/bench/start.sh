#!/usr/bin/env bash
# How soon tracer shows something, and what it takes while nothing happens: time
# from its start to its first event, memory and CPU while idle, the size of the
# binary; beside libbpf-tools, bpftrace and tcpdump in the same run.
#
#   testdata/bench/start.sh [STARTS]     as root, beside ./tracer
#
# While the first event is waited for, a loop starts programs and opens
# connections all the time. Times vary with whatever else the machine does.
set -euo pipefail
starts=${1:-10}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
tool='' server='' noise=''
cleanup() {
	local p
	for p in $tool $server $noise; do kill "$p" 2>/dev/null || :; done
	wait 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT

python3 -m http.server 0 --bind 127.0.0.1 --directory "$work" >"$work/server" 2>/dev/null &
server=$!
for _ in $(seq 100); do
	port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/server")
	[ -z "$port" ] || break
	sleep 0.1
done
[ -n "$port" ] || { echo "bench: no server" >&2; exit 1; }

declare -A start
tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'
tools=
offer() { # NAME COMMAND: if its first word is here
	command -v "${1%% *}" >/dev/null || { echo "bench: no ${1%% *} here: left out"; return; }
	start[$1]=$2
	tools="$tools|$1"
}
for c in exec conn traffic http; do start[tracer $c]="./tracer $c --json"; tools="$tools|tracer $c"; done
often=' --interval 100ms' # the first row comes with the first interval
start[tracer traffic]+=$often
offer execsnoop "unshare -m bash -c '$tracefs; exec stdbuf -oL execsnoop'"
offer tcplife "unshare -m bash -c '$tracefs; exec stdbuf -oL tcplife'"
offer bpftrace "unshare -m bash -c '$tracefs; exec bpftrace -e \"tracepoint:syscalls:sys_enter_execve { join(args->argv); }\"'"
offer tcpdump "tcpdump -l -n -i lo tcp"
IFS='|' read -ra tools <<<"${tools#|}"

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%s–%s", a, b }'; }
ticks() { awk '{ print $14 + $15 }' <(sed 's/.*) //; s/^/- - /' "/proc/$1/stat"); }

printf '%-16s %-28s %-12s %s\n' tool 'first event, ms (spread)' 'idle, MiB' 'idle, CPU s in 10 s'
for t in "${tools[@]}"; do
	(while [ -e "$work" ]; do curl -s -o /dev/null "http://127.0.0.1:$port/" || :; sleep 0.002; done) &
	noise=$!
	: >"$work/times"
	for _ in $(seq "$starts"); do
		: >"$work/first"
		a=$EPOCHREALTIME
		bash -c "exec ${start[$t]}" 2>/dev/null > >(read -r _ || :; echo "$EPOCHREALTIME" >"$work/first"; cat >/dev/null) &
		tool=$!
		for _ in $(seq 1000); do [ ! -s "$work/first" ] || break; sleep 0.01; done
		kill -TERM "$tool" 2>/dev/null || :
		wait "$tool" || :
		tool=
		awk -v a="$a" -v b="$(cat "$work/first")" 'BEGIN { printf "%.0f\n", (b - a) * 1000 }' >>"$work/times"
	done
	kill "$noise"
	wait "$noise" 2>/dev/null || :
	noise=
	bash -c "exec ${start[$t]%"$often"}" >/dev/null 2>&1 &
	tool=$!
	sleep 3
	before=$(ticks $tool)
	sleep 10
	printf '%-16s %-28s %-12s %s\n' "$t" "$(median <"$work/times") ($(spread <"$work/times"))" \
		"$(awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' /proc/$tool/status)" \
		"$(awk -v a="$before" -v b="$(ticks $tool)" 'BEGIN { printf "%.2f", (b - a) / 100 }')"
	kill -TERM "$tool"
	wait "$tool" || :
	tool=
done
echo
echo "the binary: $(awk -v n="$(stat -c %s tracer)" 'BEGIN { printf "%.1f", n / 1048576 }') MiB, $(file -b tracer 2>/dev/null | grep -o 'statically linked' || echo 'one file')"
