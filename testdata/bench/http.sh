#!/usr/bin/env bash
# What tracing HTTP costs: nginx on loopback and wrk at full load with nothing,
# with tracer http (rows to a file, and --summary), with a bpftrace script on
# read and write system calls, with tshark, and with programs that do nothing on
# tracer's hooks, in alternating order; and what each of them saw. Then a fixed
# rate, memory after a million exchanges, true and told latency, and traffic
# that is not HTTP.
#
#   testdata/bench/http.sh [SECONDS] [ROUNDS] [PART…]     as root, beside ./tracer
#
# Parts: return file fixed memory accuracy bulk (default: all). SECONDS is how
# long each load lasts. Times vary with whatever else the machine does: read
# ratios, of one run. CPU is user and system time of the tool's processes.
set -euo pipefail
seconds=${1:-3} rounds=${2:-8}
shift $(($# < 2 ? $# : 2))
parts=${*:-return file fixed memory accuracy bulk}
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
[ -x tracer ] || { echo "bench: no ./tracer; make build" >&2; exit 1; }
PATH=$PATH:/usr/sbin
for t in nginx wrk curl; do
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
http=$work/http

# --- the server

ports=$(awk 'BEGIN { srand(); p = 20000 + int(rand() * 9000); print p, p + 1 }')
port=${ports% *} status=${ports#* }
head -c 1024 /dev/zero >"$work/file"
cat >"$work/nginx.conf" <<CONF
daemon off;
user root;
worker_processes 2;
pid $work/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000000;
	client_body_temp_path $work/1; proxy_temp_path $work/2; fastcgi_temp_path $work/3;
	uwsgi_temp_path $work/4; scgi_temp_path $work/5;
	root $work;
	server {
		listen 127.0.0.1:$port reuseport;
		location /return { return 200 "hello\n"; }
	}
	server {
		listen 127.0.0.1:$status;
		location / { stub_status; }
	}
}
CONF
nginx -c "$work/nginx.conf" -e stderr &
nginx=$!
for _ in $(seq 100); do
	! curl -sf -o /dev/null "http://127.0.0.1:$status/" || break
	sleep 0.05
done
requests() { curl -sf "http://127.0.0.1:$status/" | awk 'NR == 3 { print $3 }'; } # that nginx has handled, this one among them
load() { # PATH: wrk's requests a second
	wrk -t 2 -c 32 -d "$seconds" "http://127.0.0.1:$port/$1" | awk '/^Requests\/sec/ { print $2 }'
}

# --- the tools

declare -A start ready
tools=
offer() { # NAME COMMAND HOW-IT-IS-READY
	start[$1]=$2 ready[$1]=$3
	tools="$tools $1"
}
start[tracer]='./tracer http --json' ready[tracer]=line
tools=tracer
if ./tracer http --summary --json --duration 1ms >/dev/null 2>&1; then
	offer summary './tracer http --summary --json' line
fi
script() { # COMM: a server's latency by the system calls it makes
	local call buf
	for call in read recvfrom; do
		buf=buf
		[ $call = read ] || buf=ubuf
		echo "tracepoint:syscalls:sys_enter_$call /comm == \"$1\"/ { @fd[tid] = args->fd; @buf[tid] = (uint64)args->$buf; }"
		echo "tracepoint:syscalls:sys_exit_$call /@buf[tid]/ {
			if (args->ret > 0) { @since[pid, @fd[tid]] = nsecs; @head[pid, @fd[tid]] = str(@buf[tid], 40); }
			delete(@fd[tid]); delete(@buf[tid]); }"
	done
	for call in write writev sendto; do
		echo "tracepoint:syscalls:sys_enter_$call /@since[pid, args->fd]/ {
			printf(\"%d %d %s\\n\", pid, (nsecs - @since[pid, args->fd]) / 1000, @head[pid, args->fd]);
			delete(@since[pid, args->fd]); delete(@head[pid, args->fd]); }"
	done
	echo 'END { clear(@fd); clear(@buf); clear(@since); clear(@head); }'
}
if command -v bpftrace >/dev/null; then
	script nginx >"$work/nginx.bt"
	script http >"$work/http.bt"
	# It needs tracefs, in a mount namespace of its own.
	tracefs='mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing'
	offer bpftrace "unshare -m bash -c '$tracefs; exec bpftrace $work/nginx.bt'" row
else
	echo "bench: no bpftrace here: left out"
fi
if command -v tshark >/dev/null; then
	tshark='tshark -Q -l -i lo -Y http.time -T fields -e http.response_for.uri -e http.time'
	offer tshark "$tshark -f 'tcp port $port'" row
else
	echo "bench: no tshark here: left out"
fi
empty="$http empty sock_send_length sock_recv_length tcp_rcv_space_adjust"
# shellcheck disable=SC2086 # a command
if timeout -s INT 2 $empty >/dev/null 2>&1 || [ $? = 124 ]; then
	offer empty "$empty" line
fi

# shellcheck source=testdata/bench/tools.sh
. testdata/bench/tools.sh
wake() { curl -sf "http://127.0.0.1:$port/return"; }
rows() { # PATH: of the load in a tool's output
	case $2 in
	tracer) grep -c "\"path\":\"/$1\"" "$work/out" || : ;;
	summary) awk -v route="\"route\":\"/$1\"" '!/"total":true/ && index($0, route) { sub(/.*"count":/, ""); n += $0 + 0 } END { print n + 0 }' "$work/out" ;;
	bpftrace) grep -c "GET /$1" "$work/out" || : ;;
	tshark) grep -c "/$1" "$work/out" || : ;;
	*) echo - ;;
	esac
}

# --- full load

full() { # PATH
	local path=$1 list=$tools t round order before after with n seen ticks memory lost ns
	rm -f "$work"/result.*
	load "$path" >/dev/null # warm
	for round in $(seq "$rounds"); do
		order=$list
		[ $((round % 2)) = 1 ] || order=$(tr ' ' '\n' <<<"$list" | tac | tr '\n' ' ')
		before=$(load "$path")
		for t in $order; do
			started "$t" "${start[$t]}" "${ready[$t]}" wake || { list=$(tr ' ' '\n' <<<"$list" | grep -vx "$t" | tr '\n' ' '); continue; }
			[ "${ready[$t]}" = line ] || settled
			n=$(requests) ticks=$(cpu) seen=$(rows "$path" "$t")
			with=$(load "$path")
			n=$(($(requests) - n - 1))
			settled
			ticks=$(($(cpu) - ticks))
			memory=$(peak)
			stopped # the rest of summary comes now
			[ "$seen" = - ] || seen=$(($(rows "$path" "$t") - seen))
			lost=- ns=-
			case $t in tracer | summary) lost=$(account lost) ns=$(awk -v ns="$(account bpf_ns)" -v n="$n" 'BEGIN { if (ns) printf "%.0f", ns / n; else print "-" }') ;; esac
			after=$(load "$path")
			echo "$(ratio "$with" "$(awk -v a="$before" -v b="$after" 'BEGIN { print (a + b) / 2 }')") $with $n $seen $(awk -v t="$ticks" -v n="$n" 'BEGIN { printf "%.2f", t * 1e4 / n }') $memory $lost $ns" >>"$work/result.$t"
			before=$after
		done
	done
	echo
	echo "== full load: GET /$path, wrk -t 2 -c 32, $seconds s, $rounds rounds; both workers and wrk traced"
	echo "kept: requests a second with the tool ÷ the mean of just before and after; median (least–most); complete: rows ÷ requests that nginx handled, all rounds"
	printf '%-10s %-22s %-8s %-20s %-20s %-9s %s\n' tool 'kept' 'req/s' complete 'CPU µs a request' 'peak MiB' lost
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
	[ ! -s "$work/result.bpftrace" ] || echo "tracer ÷ bpftrace: $(ratio "$(column 1 "$work/result.tracer" | median)" "$(column 1 "$work/result.bpftrace" | median)") of the throughput kept"

	# What the kernel says of the programs, in runs of their own: to count costs.
	echo "in the kernel, both ends, by its own count, ns a request:"
	rm -f "$work"/kernel.*
	for round in $(seq "$rounds"); do
		for t in $list; do
			case $t in tshark) continue ;; esac
			echo 1 >$stats
			if started "$t" "${start[$t]}" "${ready[$t]}" wake; then
				local from to
				from=$(programs) n=$(requests)
				load "$path" >/dev/null
				to=$(programs) n=$(($(requests) - n - 1))
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
		[ -s "$f" ] || continue
		printf '%-10s %s in %s runs' "$t" "$(column 1 "$f" | middle)" "$(column 2 "$f" | median)"
		case $t in tracer | summary) printf '; by its own account in the runs above %s' "$(column 8 "$work/result.$t" | middle)" ;; esac
		echo
	done
}

# --- a fixed rate

fixed() {
	local rate=5000 round mode modes='off tracer' p ticks a b
	[ -z "${start[empty]:-}" ] || modes='off tracer empty'
	rm -f "$work"/fixed.*
	for round in $(seq "$rounds"); do
		p=$modes
		[ $((round % 2)) = 1 ] || p=$(tr ' ' '\n' <<<"$modes" | tac | tr '\n' ' ')
		for mode in $p; do
			if [ "$mode" != off ]; then
				started "$mode" "${start[$mode]}" line wake
				ticks=$(cpu)
			fi
			"$http" pace "127.0.0.1:$port" /return $rate "$seconds" >"$work/pace"
			if [ "$mode" = tracer ]; then
				sleep 0.2
				ticks=$(($(cpu) - ticks))
				stopped
				echo "$(cat "$work/pace") $ticks $(rows return tracer) $(account lost)" >>"$work/fixed.$mode"
			else
				[ "$mode" = off ] || stopped
				cat "$work/pace" >>"$work/fixed.$mode"
			fi
		done
	done
	echo
	echo "== fixed rate: $rate requests a second for $seconds s, $rounds rounds each, 10 connections"
	for mode in $modes; do
		a=$work/fixed.$mode
		echo "$mode: median $(column 1 "$a" | median) µs ($(column 1 "$a" | spread)), p99 $(column 2 "$a" | median) µs ($(column 2 "$a" | spread)), $(column 3 "$a" | median) a second"
	done
	b=$work/fixed.tracer
	echo "tracer's CPU: $(column 4 "$b" | median | awk -v s="$seconds" '{ printf "%.2f", $1 / s }') % of a core ($(column 4 "$b" | awk -v s="$seconds" '{ print $1 / s }' | spread)); rows: $(column 5 "$b" | paste -sd' '), of $((rate * seconds)); lost: $(column 6 "$b" | paste -sd' ')"
}

# --- memory

memory() {
	local n from begin
	started tracer "${start[tracer]}" line wake
	from=$(requests) n=0
	echo
	echo "== memory: requests traced, then resident and peak MiB"
	begin=$(awk '/VmRSS/ { r = $2 } /VmHWM/ { h = $2 } END { printf "%.1f %.1f", r / 1024, h / 1024 }' /proc/$tool/status)
	echo "0 $begin"
	while [ "$n" -lt 1000000 ]; do
		wrk -t 2 -c 32 -d 2 "http://127.0.0.1:$port/return" >/dev/null
		n=$(($(requests) - from))
		echo "$n $(awk '/VmRSS/ { r = $2 } /VmHWM/ { h = $2 } END { printf "%.1f %.1f", r / 1024, h / 1024 }' /proc/$tool/status)"
	done
	stopped
	echo "rows: $(rows return tracer), lost: $(account lost)"
}

# --- accuracy

# errors FILE: of lines "told own", both in µs: median and p99 of the difference
errors() {
	awk '{ d = $1 - $2; print d < 0 ? -d : d }' "$1" | sort -n | awk '{ v[NR] = $1 } END { if (NR) printf "median %.1f µs, p99 %.1f µs (n = %d)\n", v[int((NR + 1) / 2)], v[int(NR * 0.99 + 0.5)], NR; else print "nothing" }'
}
accuracy() {
	local address rate=2000 t
	coproc SERVE { exec "$http" serve; }
	server=$SERVE_PID
	read -r address <&"${SERVE[0]}"
	ask_once() { "$http" ask "$address" 50 1; }
	echo
	echo "== latency told and true: a server that takes 0 to 2 ms by its own clock, $rate requests a second for $seconds s, 16 connections"
	for t in tracer bpftrace tshark; do
		case $t in
		tracer) started $t "${start[tracer]}" line wake || continue ;;
		bpftrace) command -v $t >/dev/null && started $t "unshare -m bash -c '$tracefs; exec bpftrace $work/http.bt'" row ask_once || continue ;;
		tshark) command -v $t >/dev/null && started $t "$tshark -d tcp.port==${address#*:},http -f 'tcp port ${address#*:}'" row ask_once || continue ;;
		esac
		settled
		: >"$work/own"
		cp "$work/out" "$work/skip"
		"$http" ask "$address" $rate "$seconds" >"$work/own"
		settled
		stopped
		tail -c +"$(($(stat -c %s "$work/skip") + 1))" "$work/out" >"$work/told"
		case $t in
		tracer)
			sed -nE 's/.*"path":"([^"]*)".*"latency_us":([0-9]+),.*"server_latency_us":([0-9]+).*/\1 \2 \3/p' "$work/told" ;;
		bpftrace) awk '$3 == "GET" { print $4, "-", $2 }' "$work/told" ;;
		tshark) awk '{ sub("http://[^/]*", "", $1); print $1, "-", $2 * 1e6 }' "$work/told" ;;
		esac >"$work/times"
		awk 'NR == FNR { own[$1] = $2; next } $1 in own { print $3, own[$1] }' "$work/own" "$work/times" >"$work/pairs"
		echo "$t, server's: $(errors "$work/pairs"), of $(wc -l <"$work/own")"
		if [ $t = tracer ]; then
			awk 'NR == FNR { own[$1] = $3; next } $1 in own { print $2, own[$1] }' "$work/own" "$work/times" >"$work/pairs"
			echo "$t, client's: $(errors "$work/pairs"), of $(wc -l <"$work/own")"
		fi
	done
	kill "$server"
	wait "$server" 2>/dev/null || :
	server=
}

# --- traffic that is not HTTP

bulk() {
	local kind t round before after with list calls from to
	echo
	echo "== not HTTP: kept of the bytes a second, $rounds rounds; ns a send and receive pair by the kernel's count"
	for kind in stream pingpong; do
		list=tracer
		case " $tools " in *' empty '*) list='tracer empty' ;; esac
		rm -f "$work"/bulk.*
		"$http" $kind 1 >/dev/null # warm
		for round in $(seq "$rounds"); do
			before=$("$http" $kind "$seconds")
			for t in $list; do
				started "$t" "${start[$t]}" line wake
				with=$("$http" $kind "$seconds")
				stopped
				after=$("$http" $kind "$seconds")
				awk -v a="${before% *}" -v w="${with% *}" -v b="${after% *}" 'BEGIN { printf "%.4f\n", 2 * w / (a + b) }' >>"$work/bulk.$t"
				before=$after
			done
		done
		for t in $list; do
			echo 1 >$stats
			started "$t" "${start[$t]}" line wake
			from=$(programs)
			calls=$("$http" $kind "$seconds" | cut -d' ' -f2)
			to=$(programs)
			stopped
			echo "$stats_before" >$stats
			printf '%-10s %-10s %s (%s)  %s ns a pair\n' $kind "$t" "$(median <"$work/bulk.$t")" "$(spread <"$work/bulk.$t")" \
				"$(awk -v f="${from% *}" -v t="${to% *}" -v n="$calls" 'BEGIN { printf "%.0f", (t - f) / n * 2 }')"
		done
	done
}

for part in $parts; do
	case $part in
	return | file) full "$part" ;;
	fixed | memory | accuracy | bulk) "$part" ;;
	*) echo "bench: no part $part" >&2; exit 2 ;;
	esac
done
