#!/usr/bin/env bash
# What tracing HTTP/2 costs: h2load on nginx, and unary calls of gRPC, at full load with nothing, with tracer http (rows
# to a file, and --summary), with tshark, and with programs that do nothing on tracer's hooks, in alternating order; and
# what each of them saw. Then a stream of many messages, of which the kernel tells little.
#
#   testdata/bench/http2.sh [SECONDS] [ROUNDS] [PART…]     as root, beside ./tracer
#
# Parts: h2load grpc stream (default: all). Times vary with whatever else the machine does: read ratios, of one run. CPU
# is user and system time of the tool's processes.
set -euo pipefail
seconds=${1:-3} rounds=${2:-8}
shift $(($# < 2 ? $# : 2))
parts=${*:-h2load grpc stream}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
for t in nginx h2load curl; do
	command -v $t >/dev/null || { echo "bench: no $t here; make install-tools" >&2; exit 1; }
done
work=$(mktemp -d)
tool='' nginx='' server=''
stats=/proc/sys/kernel/bpf_stats_enabled
stats_before=$(cat $stats)
cleanup() {
	local p
	for p in $tool $nginx $server; do kill -TERM "$p" 2>/dev/null || :; done
	echo "$stats_before" >$stats
	wait 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
CGO_ENABLED=0 go build -o "$work/http" ./testdata/bench/http
(cd testdata/grpc && CGO_ENABLED=0 GOFLAGS= go build -o "$work/grpcpeer" .)
# shellcheck source=testdata/bench/tools.sh
. testdata/bench/tools.sh

# --- the servers

port=$(awk 'BEGIN { srand(); print 20000 + int(rand() * 9000) }')
cat >"$work/nginx.conf" <<CONF
daemon off;
user root;
worker_processes 2;
pid $work/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path $work/1; proxy_temp_path $work/2; fastcgi_temp_path $work/3;
	uwsgi_temp_path $work/4; scgi_temp_path $work/5;
	server {
		listen 127.0.0.1:$port http2 reuseport;
		location / { return 200 "hello\n"; }
	}
}
CONF
nginx -c "$work/nginx.conf" -e stderr &
nginx=$!
mkfifo "$work/in"
"$work/grpcpeer" server <"$work/in" >"$work/port" &
server=$!
exec 9>"$work/in" # it serves until this is closed
for _ in $(seq 100); do
	[ ! -s "$work/port" ] || ! curl -sf --http2-prior-knowledge -o /dev/null "http://127.0.0.1:$port/" || break
	sleep 0.05
done
grpc_port=$(cat "$work/port")

# load KIND N: a load of N exchanges; prints how many a second.
load() {
	case $1 in
	h2load) h2load -n "$2" -c 4 -m 10 "http://127.0.0.1:$port/load" | awk '/^finished in/ { print $4 }' ;;
	grpc) "$work/grpcpeer" load "$grpc_port" "$2" 16 4 10 ;;
	esac
}
wake() { curl -sf --http2-prior-knowledge "http://127.0.0.1:$port/wake"; }

# --- the tools

declare -A start ready
start[tracer]='./tracer http --json' ready[tracer]=line
start[summary]='./tracer http --summary --json' ready[summary]=line
tools='tracer summary'
if command -v tshark >/dev/null; then
	start[tshark]="tshark -Q -l -i lo -f 'tcp port $port or tcp port $grpc_port' -d tcp.port==$port,http2 -d tcp.port==$grpc_port,http2 -Y http2.headers.path -T fields -e http2.headers.path"
	ready[tshark]=row
	tools="$tools tshark"
else
	echo "bench: no tshark here: left out"
fi
empty="$work/http empty sock_send_length sock_recv_length tcp_rcv_space_adjust"
# shellcheck disable=SC2086 # a command
if timeout -s INT 2 $empty >/dev/null 2>&1 || [ $? = 124 ]; then
	start[empty]=$empty ready[empty]=line
	tools="$tools empty"
fi

rows() { # KIND TOOL: of the load in a tool's output
	local path=/load
	[ "$1" = h2load ] || path=/tracer.test.Echo/Unary
	case $2 in
	tracer) grep -c "\"path\":\"$path\"" "$work/out" || : ;;
	summary) awk -v route="\"route\":\"$path\"" '!/"total":true/ && index($0, route) { sub(/.*"count":/, ""); n += $0 + 0 } END { print n + 0 }' "$work/out" ;;
	tshark) { grep -o "$path" "$work/out" || :; } | wc -l ;;
	*) echo - ;;
	esac
}

# --- full load

full() { # KIND
	local kind=$1 list=$tools t round order before after with n seen ticks memory lost ns rate extra=0
	rm -f "$work"/result.*
	[ "$kind" = h2load ] || extra=4 # a call on each connection before the clock runs
	rate=$(load "$kind" 5000) # warm
	n=$(awk -v r="$rate" -v s="$seconds" 'BEGIN { printf "%d", int(r * s / 160) * 160 }')
	for round in $(seq "$rounds"); do
		order=$list
		[ $((round % 2)) = 1 ] || order=$(tr ' ' '\n' <<<"$list" | tac | tr '\n' ' ')
		before=$(load "$kind" "$n")
		for t in $order; do
			echo 1 >$stats
			started "$t" "${start[$t]}" "${ready[$t]}" wake || { list=$(tr ' ' '\n' <<<"$list" | grep -vx "$t" | tr '\n' ' '); continue; }
			echo "$stats_before" >$stats
			[ "${ready[$t]}" = line ] || settled
			ticks=$(cpu) seen=$(rows "$kind" "$t")
			with=$(load "$kind" "$n")
			settled
			ticks=$(($(cpu) - ticks))
			memory=$(peak)
			stopped # the rest of summary comes now
			[ "$seen" = - ] || seen=$(($(rows "$kind" "$t") - seen))
			lost=- ns=-
			case $t in tracer | summary) lost=$(account lost) ;; esac
			after=$(load "$kind" "$n")
			echo "$(ratio "$with" "$(awk -v a="$before" -v b="$after" 'BEGIN { print (a + b) / 2 }')") $with $((n + extra)) $seen $(awk -v t="$ticks" -v n="$n" 'BEGIN { printf "%.2f", t * 1e4 / n }') $memory $lost" >>"$work/result.$t"
			before=$after
		done
	done
	echo
	echo "== full load: $kind, $n streams, 4 connections, $rounds rounds; both ends traced"
	echo "kept: streams a second with the tool ÷ the mean of just before and after; median (least–most); complete: rows ÷ streams, all rounds"
	printf '%-10s %-22s %-8s %-20s %-20s %-9s %s\n' tool 'kept' 'str/s' complete 'CPU µs a stream' 'peak MiB' lost
	for t in $list; do
		local f=$work/result.$t
		[ -s "$f" ] || continue
		printf '%-10s %-22s %-8.0f %-20s %-20s %-9s %s\n' "$t" \
			"$(column 1 "$f" | middle)" \
			"$(column 2 "$f" | median)" \
			"$(awk '$4 == "-" { print "-"; exit } { n += $3; s += $4 } END { if (n) printf "%.5f (%+d)", s / n, s - n }' "$f")" \
			"$(column 5 "$f" | middle)" \
			"$(column 6 "$f" | median | awk '{ printf "%.1f", $1 / 1024 }')" \
			"$(column 7 "$f" | paste -sd' ')"
	done
	echo "in the kernel, both ends, by its own count, ns a stream:"
	rm -f "$work"/kernel.*
	for round in $(seq "$rounds"); do
		for t in $list; do
			case $t in tshark) continue ;; esac
			echo 1 >$stats
			if started "$t" "${start[$t]}" "${ready[$t]}" wake; then
				local from to
				from=$(programs)
				load "$kind" "$n" >/dev/null
				to=$(programs)
				stopped
				awk -v f="$from" -v t="$to" -v n="$n" 'BEGIN {
					split(f, a); split(t, b)
					printf "%.0f %.2f\n", (b[1] - a[1]) / n, (b[2] - a[2]) / n }' >>"$work/kernel.$t"
			fi
			echo "$stats_before" >$stats
		done
	done
	for t in $list; do
		local f=$work/kernel.$t
		[ ! -s "$f" ] || echo "$(printf '%-10s' "$t") $(column 1 "$f" | middle) in $(column 2 "$f" | median) runs"
	done
}

# --- one stream

stream() {
	echo
	echo "== one stream: 10,000 messages of 10 bytes each way, and 100 unary calls of 100 kB; CPU of tracer, and its rows"
	started tracer "${start[tracer]}" line wake
	local ticks
	ticks=$(cpu)
	"$work/grpcpeer" client "$grpc_port" Bidi:10000 Unary:100:100000
	settled
	ticks=$(($(cpu) - ticks))
	stopped
	echo "$((ticks * 10)) ms of CPU; $(grep -c Echo "$work/out") rows; lost $(account lost)"
}

for part in $parts; do
	case $part in
	h2load | grpc) full "$part" ;;
	stream) stream ;;
	*) echo "bench: no part $part" >&2; exit 2 ;;
	esac
done
