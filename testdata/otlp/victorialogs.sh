#!/usr/bin/env bash
# Sends tracer's JSON lines into VictoriaLogs as they are, and asks it for the slowest
# routes and the pods that serve them. It runs while tracer does.
#
#   tracer http --json | testdata/otlp/victorialogs.sh send [URL]
#   testdata/otlp/victorialogs.sh slowest [URL]
#
# URL is that of VictoriaLogs: http://localhost:9428 by default. Any engine that takes JSON
# lines is fed in the same way: Loki and Vector take the file that --write makes.
set -euo pipefail
url=${2:-http://localhost:9428}
case ${1:-} in
send)
	# A stream is a process of a pod; the text of a row is its path.
	curl -sS -f -X POST -H 'Content-Type: application/stream+json' -T - \
		"$url/insert/jsonline?_time_field=time&_msg_field=path,event&_stream_fields=event,namespace,pod,container,comm"
	;;
slowest)
	curl -sS -f "$url/select/logsql/query" --data-urlencode 'query=
		event:http
		| extract_regexp "^(?P<route>[^?]+)" from _msg
		| replace_regexp ("/[0-9]+", "/{id}") at route
		| stats by (method, route, namespace, pod, comm) count() n, quantile(0.5, duration_us) p50_us, quantile(0.99, duration_us) p99_us
		| sort by (p99_us) desc | limit 20'
	;;
*)
	sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
	exit 2
	;;
esac
