#!/usr/bin/env bash
# What tracing HTTPS costs: nginx and wrk over TLS at full load, both ends traced, and a
# server of Go, with nothing, with tracer http, with a bpftrace script on SSL_read and
# SSL_write, and with programs that do nothing at those functions and where tracer has its
# own, in alternating order; and what each of them saw.
#
#   testdata/bench/https.sh [SECONDS] [ROUNDS]     as root, beside ./tracer
#
# SECONDS is how long each load lasts. Read ratios, of one run: times vary with whatever
# else the machine does. CPU is user and system time of the tool's processes.
set -euo pipefail
seconds=${1:-3} rounds=${2:-5}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
for t in nginx wrk openssl; do
	command -v $t >/dev/null || { echo "bench: no $t here; make install-tools" >&2; exit 1; }
done
work=$(mktemp -d)
tool='' nginx='' server=''
cleanup() {
	local p
	for p in $tool $nginx $server; do kill -TERM "$p" 2>/dev/null || :; done
	wait 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
CGO_ENABLED=0 go build -o "$work/https" ./testdata/bench/https
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" \
	-days 2 -subj /CN=localhost 2>/dev/null
port=$((20000 + RANDOM % 9000)) goport=
goport=$((port + 1))
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
		listen 127.0.0.1:$port ssl reuseport;
		ssl_certificate $work/cert.pem;
		ssl_certificate_key $work/key.pem;
		location / { return 200 "hello\n"; }
	}
}
CONF
nginx -c "$work/nginx.conf" -e stderr &
nginx=$!
"$work/https" serve "127.0.0.1:$goport" "$work/cert.pem" "$work/key.pem" &
server=$!
for _ in $(seq 100); do
	! curl -skf "https://127.0.0.1:$port/" "https://127.0.0.1:$goport/" >/dev/null || break
	sleep 0.05
done
ssl=$(awk '/libssl/ { print $6; exit }' "/proc/$nginx/maps")

# load PORT: requests a second, and how many in all.
load() {
	wrk -t 2 -c 32 -d "$seconds" "https://127.0.0.1:$1/load" |
		awk '/^Requests\/sec/ { rate = $2 } / requests in / { n = $1 } END { print rate, n }'
}
declare -A start ready
start[tracer]='./tracer http --json' ready[tracer]='"event":"start"'
start[inner]="$work/https inner FILE" ready[inner]=ready
start[public]="$work/https public FILE" ready[public]=ready
cat >"$work/ssl.bt" <<BT
uprobe:$ssl:SSL_read { @buf[tid] = arg1; }
uretprobe:$ssl:SSL_read /@buf[tid]/ {
	if ((int32)retval > 0) { printf("%d %d %s\n", pid, nsecs / 1000, str(@buf[tid], 40)); }
	delete(@buf[tid]);
}
uprobe:$ssl:SSL_write { printf("%d %d %s\n", pid, nsecs / 1000, str(arg1, 40)); }
BEGIN { printf("ready\n"); }
BT
start[bpftrace]="unshare -m bash -c 'mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace $work/ssl.bt'"
ready[bpftrace]=ready
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else if (NR) print (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "-" }'; }
cpu() { # of the tool and its children, in ticks of 10 ms
	local p
	for p in $1 $(cat /proc/"$1"/task/*/children 2>/dev/null || :); do
		sed 's/.*) //' "/proc/$p/stat" 2>/dev/null || :
	done | awk '{ n += $12 + $13 } END { print n + 0 }'
}

# with TOOL PORT FILE: one load with a tool. Prints its rate, how much of it was seen, and CPU µs a request.
with() {
	local command=${start[$1]//FILE/$3} rate n seen ticks before
	: >"$work/out"
	bash -c "exec $command" >"$work/out" 2>"$work/err" &
	tool=$!
	for _ in $(seq 200); do
		! grep -qs "${ready[$1]}" "$work/out" "$work/err" || break
		sleep 0.05
	done
	before=$(cpu "$tool")
	read -r rate n < <(load "$2")
	ticks=$(($(cpu "$tool") - before))
	sleep 0.3
	kill -TERM "$tool" 2>/dev/null || :
	wait "$tool" || :
	tool=
	case $1 in
	tracer) seen=$(grep -c '"path":"/load"' "$work/out" || :) ;;
	bpftrace) seen=$(grep -c 'GET /load' "$work/out" || :) ;;
	*) seen=- ;;
	esac
	echo "$rate $n $seen $ticks" | awk '{ printf "%s %s %.1f\n", $1, ($3 == "-" ? "-" : sprintf("%.4f", $3 / $2)), $4 * 10000 / $2 }'
}
part() { # NAME PORT FILE TOOL…
	local name=$1 port=$2 file=$3 t round bare
	shift 3
	echo "$name"
	printf '  %-10s %10s %10s %8s %10s\n' tool kept requests/s seen 'CPU µs'
	for t in "$@"; do : >"$work/kept.$t"; : >"$work/rate.$t"; : >"$work/seen.$t"; : >"$work/cpu.$t"; done
	load "$port" >/dev/null
	for round in $(seq "$rounds"); do
		for t in "$@"; do
			read -r bare _ < <(load "$port")
			read -r rate seen cpu < <(with "$t" "$port" "$file")
			awk -v a="$rate" -v b="$bare" 'BEGIN { printf "%.3f\n", a / b }' >>"$work/kept.$t"
			echo "$rate" >>"$work/rate.$t"
			echo "$seen" >>"$work/seen.$t"
			echo "$cpu" >>"$work/cpu.$t"
		done
	done
	for t in "$@"; do
		printf '  %-10s %10s %10s %8s %10s\n' "$t" "$(median <"$work/kept.$t")" "$(median <"$work/rate.$t")" "$(median <"$work/seen.$t")" "$(median <"$work/cpu.$t")"
	done
}
tools="tracer inner public"
if command -v bpftrace >/dev/null; then tools="$tools bpftrace"; else echo "bench: no bpftrace here: left out"; fi
# shellcheck disable=SC2086 # a word each
part "nginx and wrk over TLS, both ends here (bpftrace sees each request twice)" "$port" "$ssl" $tools
part "a server of Go, and wrk" "$goport" "$work/https" tracer inner
