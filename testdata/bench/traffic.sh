#!/usr/bin/env bash
# What counting traffic costs: a bulk transfer and N small exchanges on loopback,
# with nothing, with tracer traffic, with nethogs and with libbpf-tools' tcptop,
# in alternating order, and what each saw.
#
#   testdata/bench/traffic.sh [N] [ROUNDS] [MIB]     as root, beside ./tracer
#
# Both ends are on this host. An exchange is 101 bytes and an answer of 1009, hence
# two pairs of a send and a receive. Times vary with whatever else the machine
# does: read ratios, of one run.
set -euo pipefail
n=${1:-20000} rounds=${2:-8} mib=${3:-2048}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
tool=
trap '[ -z "$tool" ] || kill -TERM $tool 2>/dev/null || :; rm -rf "$work"' EXIT

# The load, by two processes that are called after the file: NAME-client and
# NAME-server. It says how many nanoseconds it took.
cat >"$work/move.c" <<'C'
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char buf[64 << 10];
static void check(int ok) { if (!ok) { perror("move"); exit(1); } }
static void send_all(int fd, long n)
{
	for (long m; n; n -= m)
		check((m = write(fd, buf, n < (long)sizeof(buf) ? n : (long)sizeof(buf))) > 0);
}
static void receive(int fd, long n)
{
	for (long m; n; n -= m)
		check((m = read(fd, buf, n < (long)sizeof(buf) ? n : (long)sizeof(buf))) > 0);
}
int main(int argc, char **argv)
{
	int bulk = !strcmp(argv[1], "bulk"), l = socket(AF_INET, SOCK_STREAM, 0), fd, one = 1, status;
	long n = atol(argv[2]);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	struct timespec from, to;
	char name[16];

	check(l >= 0 && bind(l, (void *)&a, len) == 0 && listen(l, 1) == 0);
	check(getsockname(l, (void *)&a, &len) == 0);
	pid_t server = fork();
	check(server >= 0);
	snprintf(name, sizeof(name), "%s-%s", strrchr(argv[0], '/') + 1, server ? "client" : "server");
	prctl(PR_SET_NAME, name);
	fd = server ? socket(AF_INET, SOCK_STREAM, 0) : accept(l, NULL, NULL);
	check(fd >= 0 && (!server || connect(fd, (void *)&a, len) == 0));
	check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long i = 0; i < n; i++) {
		if (bulk)
			server ? send_all(fd, 1 << 20) : receive(fd, 1 << 20);
		else if (server)
			send_all(fd, 101), receive(fd, 1009);
		else
			receive(fd, 101), send_all(fd, 1009);
	}
	if (!server) {
		send_all(fd, 1); /* all has arrived */
		return 0;
	}
	receive(fd, 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%ld\n", (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec);
	check(waitpid(server, &status, 0) == server && status == 0);
	return 0;
}
C
cc -O2 -o "$work/move" "$work/move.c"
cp "$work/move" "$work/wake" # shows whether a tool sees something
move() { "$work/move" "$1" "$([ "$1" = bulk ] && echo "$mib" || echo "$n")"; }

declare -A start
start[tracer]='./tracer traffic --json'
# tcptop needs tracefs, in a mount namespace of its own.
tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'
start[tcptop]="unshare -m bash -c '$tracefs; exec stdbuf -oL tcptop -C 1'"
start[nethogs]='stdbuf -oL nethogs -a -t -v 2 -d 1 lo' # -a: loopback, too; bytes in all, by process
count() { # what a tool saw the client of a load send and receive, in bytes
	case $1 in
	tracer)
		awk -F'[:,}]' '/"comm":"move-client"/ { for (i = 1; i < NF; i++) {
			if ($i == "\"tx_bytes\"") tx += $(i + 1); if ($i == "\"rx_bytes\"") rx += $(i + 1) } }
			END { printf "%.0f/%.0f\n", tx, rx }' "$2"
		;;
	nethogs) awk -F'\t' '$1 ~ /move/ && $2 + $3 > 0 { v[$1] = $2 "/" $3 } END { for (p in v) printf "%s ", v[p]; print "" }' "$2" ;;
	tcptop) awk '$2 == "move-client" { rx += $(NF - 1); tx += $NF } END { printf "%d/%d KiB\n", tx, rx }' "$2" ;;
	esac
}

# begin NAME: starts a tool and waits until it sees something.
begin() {
	bash -c "exec ${start[$1]}" >"$work/out" 2>"$work/err" &
	tool=$!
	for _ in $(seq 30); do
		"$work/wake" exchange 10 >/dev/null
		sleep 0.3
		! grep -qE 'wake|Refreshing' "$work/out" || return 0
		kill -0 $tool 2>/dev/null || break
	done
	kill -TERM $tool 2>/dev/null || :
	wait $tool || :
	tool=
	return 1
}
ticks() { sed 's/.*) //' "/proc/$tool/stat" | awk '{ print $12 + $13 }'; }

# run NAME LOAD: appends how long the load took with and without the tool (ns, the
# mean of just before and after), the tool's CPU seconds, its peak memory (KiB).
run() {
	local before with after cpu
	before=$(move "$2")
	begin "$1" || return 1
	cpu=$(ticks)
	with=$(move "$2")
	sleep 1.5 # until it is told
	cpu=$(awk -v a="$cpu" -v b="$(ticks)" 'BEGIN { print (b - a) / 100 }')
	echo "$with $before $cpu $(awk '/VmHWM/ { print $2 }' /proc/$tool/status)" >"$work/one"
	kill -TERM $tool
	wait $tool || :
	tool=
	count "$1" "$work/out" >>"$work/saw.$1.$2"
	tail -1 "$work/err" >>"$work/end.$1.$2"
	after=$(move "$2")
	awk -v after="$after" '{ print $1, ($2 + after) / 2, $3, $4 }' "$work/one" >>"$work/result.$1.$2"
}

median() { sort -g | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -g | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%s…%s", a, b }'; }

tools=tracer
for t in nethogs tcptop; do
	if command -v $t >/dev/null; then tools="$tools $t"; else echo "bench: no $t here: left out"; fi
done
move bulk >/dev/null # warm
for round in $(seq "$rounds"); do
	order=$tools
	[ $((round % 2)) = 1 ] || order=$(tr ' ' '\n' <<<"$tools" | tac | tr '\n' ' ')
	for t in $order; do
		for load in bulk exchange; do
			run "$t" $load && continue
			echo "bench: $t does not start here, or sees nothing: $(tail -1 "$work/err")"
			tools=${tools/ $t/}
			break
		done
	done
done

echo "$rounds rounds; kept: time without the tool (just before and after) ÷ time with it"
for load in bulk exchange; do
	echo
	case $load in
	bulk) echo "bulk: $mib MiB from one process to another; the client sends $((mib << 20)) bytes and receives 1" ;;
	exchange) echo "$n exchanges, $((2 * n)) pairs of a send and a receive; the client sends $((101 * n)) bytes and receives $((1009 * n + 1))" ;;
	esac
	printf '%-8s %-24s %-28s %-10s %-9s %s\n' tool 'kept (spread)' 'ns more a pair (spread)' 'CPU s' 'peak MiB' 'sent/received by the client, each round'
	for t in $tools; do
		r=$work/result.$t.$load
		pairs=$((2 * n))
		[ $load = exchange ] || pairs=$((mib * 16))
		awk -v n=$pairs '{ printf "%.0f\n", ($1 - $2) / n }' "$r" >"$work/more"
		awk '{ printf "%.3f\n", $2 / $1 }' "$r" >"$work/kept"
		printf '%-8s %-24s %-28s %-10s %-9s %s\n' "$t" "$(median <"$work/kept") ($(spread <"$work/kept"))" \
			"$(median <"$work/more") ($(spread <"$work/more"))" "$(awk '{ print $3 }' "$r" | median)" \
			"$(awk '{ print $4 / 1024 }' "$r" | median | awk '{ printf "%.1f", $1 }')" \
			"$(sort "$work/saw.$t.$load" | uniq -c | sed 's/^ *//; s/ / × /' | paste -sd' ')"
	done
done
echo
echo "tracer's own accounts, last round of each load:"
for load in bulk exchange; do tail -1 "$work/end.tracer.$load"; done
awk -F'[:,}]' -v n=$((2 * n)) '{ for (i = 1; i < NF; i++) if ($i == "\"bpf_ns\"") printf "%.0f\n", $(i + 1) / n }' "$work/end.tracer.exchange" |
	median | sed 's/$/ ns in the kernel for each pair of the exchanges (median)/'
./tracer traffic --duration 10s --uid 4294967294 >/dev/null 2>"$work/idle" && echo "idle for 10 s, start included: $(tail -1 "$work/idle")"
