#!/usr/bin/env bash
# What tracing connections costs: N connections on loopback, opened and closed
# one after the other as fast as it goes, with nothing, with tracer conn and with
# libbpf-tools' tcplife and tcpstates, in alternating order, and what each saw.
#
#   testdata/bench/conn.sh [N] [ROUNDS]     as root, beside ./tracer
#
# Both ends are on this host: N connects, N accepts and 2 N closes. Times vary
# with whatever else the machine does: read ratios, of one run.
set -euo pipefail
n=${1:-20000} rounds=${2:-4}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
tool=
trap '[ -z "$tool" ] || kill -INT $tool 2>/dev/null || :; rm -rf "$work"' EXIT

# The load: a client and a server, each the first to close every other time.
cat >"$work/storm.c" <<'C'
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static void check(int ok) { if (!ok) { perror("storm"); exit(1); } }
static void end(int fd, int first)
{
	char c;
	check(first || read(fd, &c, 1) == 0);
	check(close(fd) == 0);
}
int main(int argc, char **argv)
{
	int n = atoi(argv[1]), l = socket(AF_INET, SOCK_STREAM, 0), status;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	check(l >= 0 && bind(l, (void *)&a, len) == 0 && listen(l, 128) == 0);
	check(getsockname(l, (void *)&a, &len) == 0);
	pid_t server = fork();
	check(server >= 0);
	prctl(PR_SET_NAME, server ? "storm-client" : "storm-server");
	for (int i = 0; i < n; i++) {
		int fd = server ? socket(AF_INET, SOCK_STREAM, 0) : accept(l, NULL, NULL);
		check(fd >= 0 && (!server || connect(fd, (void *)&a, len) == 0));
		end(fd, !!server == i % 2);
	}
	check(!server || (waitpid(server, &status, 0) == server && status == 0));
	return 0;
}
C
cc -O2 -o "$work/storm" "$work/storm.c"

declare -A start complete
start[tracer]='./tracer conn --json'
# tcpstates needs tracefs, in a mount namespace of its own.
tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'
start[tcplife]="unshare -m bash -c '$tracefs; exec stdbuf -oL tcplife'"
start[tcpstates]="unshare -m bash -c '$tracefs; exec stdbuf -oL tcpstates'"
count() { # what a tool saw of the storm
	case $1 in
	tracer) # with the right owner
		grep -cE '"event":"connect",.*"comm":"storm-client"' "$2" || :
		grep -cE '"event":"accept",.*"comm":"storm-server"' "$2" || :
		grep -cE '"event":"close",.*"comm":"storm-(client|server)"' "$2" || :
		;;
	*) grep -c 'storm' "$2" || : ;;
	esac | paste -sd+
}
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
storm() { # prints how long it took
	local a=$EPOCHREALTIME
	"$work/storm" "$n"
	seconds "$a" "$EPOCHREALTIME"
}

# run NAME: one storm with a tool running. Appends: seconds, cpu seconds, peak KiB.
run() {
	local name=$1 out=$work/out.$1 err=$work/err.$1 took ticks
	: >"$out"
	bash -c "exec ${start[$name]}" >"$out" 2>"$err" &
	tool=$!
	for _ in $(seq 100); do # until it sees something
		"$work/storm" 1
		sleep 0.1
		! grep -q storm "$out" || break
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
for t in tcplife tcpstates; do
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

echo "$n connections, $rounds rounds; time with the tool ÷ time without, just before and after"
echo "complete: rows of the storm, tracer's connects + accepts + closes with their true owners; at least $n+$n+$((2 * n)) and one or more of each from the check that the tool sees"
printf '%-10s %-22s %-24s %-10s %s\n' tool 'time factor (spread)' 'CPU µs a connection' 'peak MiB' 'complete (each round)'
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
awk -F'[:,}]' -v n="$n" '{ for (i = 1; i < NF; i++) if ($i ~ /"bpf_ns"/) printf "in the kernel: %.0f ns a connection, both ends\n", $(i + 1) / n }' <(tail -1 "$work/err.tracer")
echo
./tracer conn --duration 10s --uid 4294967294 >/dev/null 2>"$work/idle" && echo "idle for 10 s, start included: $(tail -1 "$work/idle")"
