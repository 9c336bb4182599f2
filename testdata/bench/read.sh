#!/usr/bin/env bash
# What reading a recording costs: N http lines to a table and through a filter, beside jq's select of the same file,
# in alternating order; then memory while the recordings of three hosts are merged, of a tenth of M lines and of M.
#
#   testdata/bench/read.sh [N] [ROUNDS] [M]     beside ./tracer; needs jq
set -euo pipefail
n=${1:-300000} rounds=${2:-5} m=${3:-1000000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# record HOST N: exchanges that HOST has seen, 20 µs apart. Each second one of web has its other end on the host api.
record() {
	awk -v host="$1" -v n="$2" 'BEGIN {
		printf "{\"time\":\"2026-01-01T00:00:00.000000000Z\",\"event\":\"start\",\"format\":1,\"hostname\":\"%s\",\"boot_id\":\"%s\"}\n", host, host
		role = host == "api" ? "server" : "client"
		for (i = 0; i < n; i++) {
			us = i * 20
			conn = host == "db" ? 4294967296 + i : int(i / 100) * 2 + (host == "web" && i % 2)
			printf "{\"time\":\"2026-01-01T00:%02d:%02d.%06d000Z\",\"event\":\"http\",\"pid\":4711,\"comm\":\"nginx\",\"uid\":33,\"cgroup_id\":8123,", us / 6e7, us / 1e6 % 60, us % 1e6
			printf "\"role\":\"%s\",\"family\":\"ipv4\",\"src_addr\":\"10.0.0.1\",\"src_port\":40000,\"dst_addr\":\"10.0.0.2\",\"dst_port\":8080,\"conn_id\":\"%016x\",\"version\":\"1.1\",\"seq\":%d,", role, conn, i % 100 + 1
			printf "\"method\":\"GET\",\"path\":\"/items/%d\",\"host\":\"shop.example:8080\",\"status\":%d,\"latency_us\":%d,\"duration_us\":%d,\"request_bytes\":78,\"response_bytes\":5321}\n", i, i % 50 ? 200 : 503, 900 + i % 99, 950 + i % 99
		}
		printf "{\"time\":\"2026-01-01T01:00:00.000000000Z\",\"event\":\"end\",\"reason\":\"interrupted\",\"seen\":%d,\"shown\":%d,\"lost\":0,\"duration_us\":1,\"cpu_us\":1}\n", n, n
	}'
}

# took COMMAND…: its CPU time, in ms.
took() {
	local TIMEFORMAT='%U %S'
	{ time "$@" >/dev/null 2>"$work/err"; } 2>&1 | awk '{ printf "%d", ($1 + $2) * 1000 }'
}
middle() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

record web "$n" >"$work/a.jsonl"
echo "$n lines of http, $(stat -c %s "$work/a.jsonl") bytes; CPU time in ms, median of $rounds rounds"
for _ in $(seq "$rounds"); do
	took jq -c 'select(.status == 503)' "$work/a.jsonl" >>"$work/jq"; echo >>"$work/jq"
	took ./tracer http --read "$work/a.jsonl" >>"$work/table"; echo >>"$work/table"
	took ./tracer http --read "$work/a.jsonl" --json --status 503 >>"$work/json"; echo >>"$work/json"
	took ./tracer http --read "$work/a.jsonl" --summary >>"$work/summary"; echo >>"$work/summary"
done
jq=$(middle <"$work/jq")
echo "jq select          $jq"
for what in table json summary; do
	t=$(middle <"$work/$what")
	printf '%-18s %s, %s × jq\n' "tracer, $what" "$t" "$(awk "BEGIN { printf \"%.2f\", $t / $jq }")"
done

echo
echo "three hosts merged, of which two have both ends of every second exchange of one"
for size in $((m / 10)) "$m"; do
	for host in web api db; do record "$host" "$size" >"$work/$host.jsonl"; done
	./tracer http --read "$work/web.jsonl,$work/api.jsonl,$work/db.jsonl" --json >"$work/out" 2>"$work/err" &
	tool=$! peak=0
	while [ -e "/proc/$tool/status" ] && now=$(awk '/VmHWM/ { print $2 }' "/proc/$tool/status" 2>/dev/null) && [ -n "$now" ]; do
		peak=$now
		sleep 0.05
	done
	wait "$tool"
	printf '3 × %s lines: peak %d MiB, %s\n' "$size" $((peak / 1024)) "$(tail -1 "$work/err" | jq -r '"\(.seen) events seen, \(.lost) lost, CPU \(.cpu_us / 1000 | floor) ms"')"
	echo "of both ends: $(grep -c '"role":"both"' "$work/out")"
done
