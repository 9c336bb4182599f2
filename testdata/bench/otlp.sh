#!/usr/bin/env bash
# What --otlp costs: nginx on loopback, traced with rows to a file, and with the same into
# an OpenTelemetry Collector on this host beside, in alternating order; and whether all
# that was sent is accounted for, by tracer's account and by the Collector's own counter.
#
#   testdata/bench/otlp.sh COLLECTOR [SECONDS] [ROUNDS] [RATE]     as root, beside ./tracer
#
# COLLECTOR is testdata/otlp/collector, built (make bench-otlp). RATE is requests a second;
# 0: as many as go, by wrk: then the Collector takes its part of the processors. Times vary with whatever else the machine does: read ratios, of one run.
set -euo pipefail
collector=$1 seconds=${2:-5} rounds=${3:-4} rate=${4:-20000}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
for t in nginx wrk curl jq; do
	command -v $t >/dev/null || { echo "bench: no $t here; make install-tools" >&2; exit 1; }
done
work=$(mktemp -d)
nginx='' engine='' tool=''
cleanup() {
	local p
	for p in $tool $nginx $engine; do kill -TERM "$p" 2>/dev/null || :; done
	wait 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
CGO_ENABLED=0 go build -o "$work/http" ./testdata/bench/http
ports=$(awk 'BEGIN { srand(); p = 20000 + int(rand() * 9000); print p, p + 1, p + 2 }')
read -r port otlp own <<<"$ports"

cat >"$work/nginx.conf" <<CONF
daemon off;
user root;
worker_processes 1;
pid $work/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path $work/1; proxy_temp_path $work/2; fastcgi_temp_path $work/3;
	uwsgi_temp_path $work/4; scgi_temp_path $work/5;
	server { listen 127.0.0.1:$port; location / { return 200 "ok\n"; } }
}
CONF
cat >"$work/collector.yaml" <<CONF
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:$otlp"}}}}
exporters: {nop: {}}
service:
  telemetry:
    logs: {level: error}
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: $own}}}}]}
  pipelines: {traces: {receivers: [otlp], exporters: [nop]}}
CONF
nginx -e stderr -c "$work/nginx.conf" &
nginx=$!
"$collector" --config "file:$work/collector.yaml" &
engine=$!
for i in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$own/metrics" && curl -s -o /dev/null "http://127.0.0.1:$port/" && break; sleep .1; done

# accepted is how many spans the Collector says that it has taken.
accepted() {
	curl -s "http://127.0.0.1:$own/metrics" | awk '/^otelcol_receiver_accepted_spans/ { n += $NF } END { printf "%d\n", n }'
}

load() {
	if [ "$rate" = 0 ]; then
		wrk -t 1 -c 8 -d "${seconds}s" "http://127.0.0.1:$port/users/42" | awk '/requests in/ { print $1 }'
	else
		"$work/http" pace "127.0.0.1:$port" /users/42 "$rate" "$seconds" >/dev/null
		echo $((rate * seconds))
	fi
}

# one traces one load, and prints a line: see below. Spans are what the rows make: two of each that has both ends.
one() {
	local mode=$1 before requests spans
	shift
	before=$(accepted)
	./tracer http --json --port "$port" "$@" >"$work/rows.json" 2>"$work/err" &
	tool=$!
	for i in $(seq 100); do grep -qs '"start"' "$work/err" && break; sleep .05; done
	requests=$(load)
	kill -TERM "$tool"
	wait "$tool"
	tool=''
	spans=$(awk '/"event":"http",/ { n++ } /"role":"both"/ { n++ } END { print n + 0 }' "$work/rows.json")
	tail -n 1 "$work/err" | jq -r --arg mode "$mode" --arg requests "$requests" --arg spans "$spans" --arg accepted "$(($(accepted) - before))" \
		'[$mode, $requests, .seen, .lost, (.cpu_us * 1000 / ([.seen, 1] | max) | floor), $spans, (.undelivered.otlp // 0), $accepted] | @tsv'
}

echo "mode	requests	seen	lost	ns/exchange	spans	undelivered	accepted"
for round in $(seq "$rounds"); do
	modes='file otlp'
	[ $((round % 2)) = 0 ] && modes='otlp file'
	for mode in $modes; do
		case $mode in
		otlp) one otlp "--otlp=http://127.0.0.1:$otlp" ;;
		*) one "$mode" ;;
		esac
	done
done | tee "$work/all"
echo
awk '
{ n[$1]++; requests[$1] += $3; lost[$1] += $4; ns[$1] += $5; undelivered[$1] += $7 }
$1 == "otlp" && $6 != $7 + $8 { wrong = wrong sprintf("  %d spans are not %d undelivered and %d accepted\n", $6, $7, $8) }
END {
	for (m in n) { requests[m] /= n[m]; ns[m] /= n[m] }
	printf "exchanges seen with --otlp, of those without: %.2f (bar 1.00); lost: %d and %d\n", requests["otlp"] / requests["file"], lost["otlp"], lost["file"]
	printf "own CPU a span: %.2f µs (bar 2)\n", (ns["otlp"] - ns["file"]) / 2000
	printf "undelivered: %d; every span is accepted by the Collector or counted: %s\n", undelivered["otlp"], wrong == "" ? "yes" : "NO\n" wrong
	exit wrong != ""
}' "$work/all"
