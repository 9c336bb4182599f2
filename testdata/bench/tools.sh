# shellcheck shell=bash
# What the benchmarks of http share, which source it: starting and stopping a tool, what it costs, and sums. They keep
# $work, a folder, and $tool, the process of the tool that runs, and set tool= first.

# started NAME COMMAND HOW WAKE: starts a tool and waits until it sees something.
started() {
	local name=$1 out=$work/out err=$work/err
	: >"$out" >"$err"
	bash -c "exec $2" >"$out" 2>"$err" &
	tool=$!
	for _ in $(seq 150); do
		if [ "$3" = line ]; then
			[ ! -s "$err" ] && [ ! -s "$out" ] || return 0
		else
			$4 >/dev/null
			[ ! -s "$out" ] || return 0
		fi
		kill -0 "$tool" 2>/dev/null || break
		sleep 0.1
	done
	echo "bench: $name does not start here: $(tail -1 "$err")"
	tool=
	return 1
}
# A shell has its jobs ignore SIGINT, and tracer leaves that as it is: SIGTERM.
stopped() {
	kill -TERM "$tool" 2>/dev/null || { echo "bench: the tool ended by itself:"; tail -5 "$work/err"; }
	wait "$tool" || :
	tool=
}
family() { # PID and its children
	echo "$1" $(cat /proc/"$1"/task/*/children 2>/dev/null || :)
}
cpu() { # of a tool, in ticks of 10 ms
	local p
	for p in $(family "$tool"); do sed 's/.*) //' "/proc/$p/stat" 2>/dev/null || :; done | awk '{ n += $12 + $13 } END { print n + 0 }'
}
peak() { # KiB
	local p
	for p in $(family "$tool"); do grep VmHWM "/proc/$p/status" 2>/dev/null || :; done | awk '{ n += $2 } END { print n + 0 }'
}
programs() { # ns of the tool's programs in the kernel, and how often they ran
	cat /proc/"$tool"/fdinfo/* 2>/dev/null | awk '
		/^prog_id/ { id = $2 }
		/^run_time_ns/ { ns[id] = $2 }
		/^run_cnt/ { runs[id] = $2 }
		END { for (i in ns) { n += ns[i]; r += runs[i] } printf "%.0f %.0f\n", n, r }' || :
}
settled() { # waits until the tool has nothing more to say
	local before=-1 now
	for _ in $(seq 60); do
		now=$(stat -c %s "$work/out")
		[ "$now" != "$before" ] || return 0
		before=$now
		sleep 0.5
	done
}
account() { # KEY of tracer's closing line
	tail -1 "$work/err" | grep -o "\"$1\":[0-9]*" | cut -d: -f2 || :
}
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR % 2) print v[(NR + 1) / 2]; else if (NR) print (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "-" }'; }
spread() { sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%s–%s", a, b }'; }
middle() { # median (least–most)
	local all
	all=$(cat)
	echo "$(median <<<"$all") ($(spread <<<"$all"))"
}
column() { cut -d' ' -f"$1" "$2"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4g", b ? a / b : 0 }'; }
