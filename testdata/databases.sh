#!/usr/bin/env bash
# Whether conn --turns tells how a Redis and a MariaDB answer: an application asks each so
# often, on connections of its own, and both ends must have counted just that, with times
# as the databases were told to take.
#
#   testdata/databases.sh TRACER     as root; needs redis-server, mariadb-server, python3, jq
#
# What is not here is left out, and said.
set -euo pipefail
tracer=$(realpath "$1")
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || :; wait; rm -rf "$work"' EXIT
failed=0

fail() { echo "databases: $*" >&2; failed=1; }

await() { # await WHAT COMMAND…: until it succeeds
	local what=$1
	shift
	for _ in $(seq 300); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	echo "databases: $what does not come" >&2
	exit 1
}

# The application: so many questions on one connection, each answered before the next; it
# prints what half of them took at the most, in microseconds, by its own clock.
cat >"$work/app.py" <<'PYTHON'
import socket, sys, time

def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

port, n = int(sys.argv[1]), int(sys.argv[2])
c = socket.create_connection(("127.0.0.1", port))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
for i in range(n):
    ask = command(b"EVAL", b"local t = redis.call('TIME') local e = t[1] * 1000000 + t[2] + 10000 repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] >= e return 'x'", b"0") if i % 2 == 0 \
        else command(b"PING")
    begin = time.monotonic()
    c.sendall(ask)
    c.recv(1000)
    took.append(int((time.monotonic() - begin) * 1e6))
    time.sleep(0.003)
c.close()
print(sorted(took)[(n - 1) // 2], max(took))
PYTHON

# check NAME PORT TURNS LEAST: what the closes at a port say of both ends.
check() {
	local name=$1 port=$2 want=$3 least=$4 role got
	for role in client server; do
		got=$(jq -r "select(.event == \"close\" and .dst_port == $port and .role == \"$role\" and .turns) | [.comm, .turns, .turn_p50_us, .turn_max_us] | @tsv" "$work/rows")
		[ "$(cut -f2 <<<"$got")" = "$want" ] || fail "$name, $role: turns: $got, want $want"
		awk -F'\t' -v least="$least" 'END { exit !($4 >= least && $4 < least + 500000) }' <<<"$got" || fail "$name, $role: times: $got, want $least µs at the most"
		echo "$name, $role: $got"
	done
}

trace() { # trace COMMAND…: runs it while tracer looks
	"$tracer" conn --turns --json >"$work/rows" 2>"$work/err" &
	local pid=$!
	pids+=("$pid")
	await 'the start of tracer' grep -q '"event":"start"' "$work/err"
	"$@"
	sleep 0.5
	kill -TERM "$pid"
	wait "$pid"
	grep -q '"lost":0' "$work/err" || fail "something was lost: $(tail -1 "$work/err")"
}

if command -v redis-server >/dev/null; then
	redis-server --port 16379 --bind 127.0.0.1 --save '' --dir "$work" >"$work/redis.log" 2>&1 &
	pids+=($!)
	await redis bash -c 'exec 3<>/dev/tcp/127.0.0.1/16379'
	trace python3 "$work/app.py" 16379 41
	check redis 16379 41 10000
else
	echo 'databases: no redis-server here: left out'
fi

if command -v mariadbd >/dev/null && command -v mariadb >/dev/null; then
	mariadb-install-db --no-defaults --user=root --datadir="$work/data" --auth-root-authentication-method=normal >"$work/install.log" 2>&1
	mariadbd --no-defaults --user=root --datadir="$work/data" --socket="$work/socket" --port=13306 --bind-address=127.0.0.1 --skip-name-resolve --innodb-buffer-pool-size=16M >"$work/mariadb.log" 2>&1 &
	pids+=($!)
	await mariadb mariadb --no-defaults -u root -S "$work/socket" -e 'select 1'
	for i in $(seq 29); do echo "select sleep(0.0$((i % 3 * 2)));"; done >"$work/queries"
	# A turn each, and one of the login; the greeting and the goodbye are none.
	trace bash -c "mariadb --no-defaults -u root -h 127.0.0.1 -P 13306 <'$work/queries' >/dev/null"
	check mariadb 13306 30 40000
else
	echo 'databases: no MariaDB here: left out'
fi
exit $failed
