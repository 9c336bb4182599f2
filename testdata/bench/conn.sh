#!/usr/bin/env bash
# What tracing connections costs: N connections on loopback, opened and closed
# one after the other as fast as it goes, with nothing, with tracer conn, with
# libbpf-tools' tcplife and tcpstates, and with programs that do nothing on the
# hooks of tracer conn, in alternating order, and what each saw; then the same of
# connections as programs make them, which ask and are answered.
#
#   testdata/bench/conn.sh [N] [ROUNDS]     as root, beside ./tracer
#
# Both ends are on this host: N connects, N accepts and 2 N closes. Times vary
# with whatever else the machine does: read ratios, of one run.
. "$(dirname "$0")/pairs.sh"

# The load: a client and a server, each the first to close every other time.
compile <<'C'
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
load() { "$work/storm" "$1"; }

CGO_ENABLED=0 go build -o "$work/hooks" ./testdata/bench/http
start[tracer]='./tracer conn --json'
start[empty]="$work/hooks empty sys_exit tcp_destroy_sock tcp_destroy_sock inet_sock_set_state inet_sock_set_state tcp_retransmit_skb tcp_retransmit_skb"
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

pairs tracer empty tcplife tcpstates
table 'a connection' connections
echo "complete: rows of the storm, tracer's connects + accepts + closes with their true owners; at least $n+$n+$((2 * n)) and one or more of each from the check that the tool sees"

cat >"$work/storm.py" <<'PYTHON'
import os, socket, sys

def named(name):
    with open("/proc/self/comm", "w") as f:
        f.write(name)

n, listener = int(sys.argv[1]), socket.create_server(("127.0.0.1", 0), backlog=128)
if os.fork() == 0:
    named("storm-server")
    for i in range(n):
        c, _ = listener.accept()
        c.recv(1000)
        c.sendall(b"y" * 100)
        if i % 2:
            c.recv(1)
        c.close()
    os._exit(0)
named("storm-client")
for i in range(n):
    c = socket.create_connection(listener.getsockname())
    c.sendall(b"x" * 100)
    c.recv(1000)
    if i % 2 == 0:
        c.recv(1)
    c.close()
os._exit(os.wait()[1] != 0)
PYTHON
load() { python3 "$work/storm.py" "$1"; }
rm -f "$work"/ratio.* "$work"/result.*
complete=()
echo
echo "== the same in Python, 100 bytes there and back on each connection"
pairs tracer tcplife
table 'a connection' connections
echo
./tracer conn --duration 10s --uid 4294967294 >/dev/null 2>"$work/idle" && echo "idle for 10 s, start included: $(tail -1 "$work/idle")"
