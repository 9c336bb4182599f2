#!/usr/bin/env bash
# What conn --turns costs a turn: N questions and answers of 100 bytes on loopback, 1000 on
# a connection, as fast as it goes, with nothing, with tracer conn --turns, and with
# tracer conn without it, which sees connections only and no call. What is told
# of the queue of a listener costs no program of its own: conn.sh measures it with the rest.
#
#   testdata/bench/turns.sh [N] [ROUNDS]     as root, beside ./tracer
#
# Both ends are on this host: each turn is four calls that are seen. Times vary with
# whatever else the machine does: read ratios, of one run.
. "$(dirname "$0")/pairs.sh"

compile <<'C'
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static void check(int ok) { if (!ok) { perror("storm"); exit(1); } }
int main(int argc, char **argv)
{
	int n = atoi(argv[1]), l = socket(AF_INET, SOCK_STREAM, 0), on = 1, status;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	char b[100] = { 0 };

	check(l >= 0 && bind(l, (void *)&a, len) == 0 && listen(l, 128) == 0);
	check(getsockname(l, (void *)&a, &len) == 0);
	pid_t server = fork();
	check(server >= 0);
	prctl(PR_SET_NAME, server ? "storm-client" : "storm-server");
	for (int done = 0; done < n; done += 1000) {
		int fd = server ? socket(AF_INET, SOCK_STREAM, 0) : accept(l, NULL, NULL);
		check(fd >= 0 && (!server || connect(fd, (void *)&a, len) == 0));
		check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
		for (int i = done; i < n && i < done + 1000; i++) {
			if (server)
				check(write(fd, b, sizeof(b)) == sizeof(b));
			check(read(fd, b, sizeof(b)) == sizeof(b));
			if (!server)
				check(write(fd, b, sizeof(b)) == sizeof(b));
		}
		check(server || read(fd, b, 1) == 0);
		check(close(fd) == 0);
	}
	check(!server || (waitpid(server, &status, 0) == server && status == 0));
	return 0;
}
C
load() { "$work/storm" "$1"; }
start[tracer]='./tracer conn --json --turns'
start[without]='./tracer conn --json'
count() { # turns of the clients, and of the servers
	for role in client server; do
		sed -nE "/\"event\":\"close\",.*\"comm\":\"storm-$role\"/s/.*\"turns\":([0-9]+).*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
	done | paste -sd+
}

pairs tracer without
table 'a turn' turns
echo "complete: turns that closes of the clients told + of the servers; $n+$n and those of the check that the tool sees; without the flag none"
