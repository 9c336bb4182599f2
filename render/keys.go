package render

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// columnKeys are the keys in JSON that tell what a column tells; "" if none
// does. "conn result" is the column result of conn, where it differs from that of
// other commands, and "http-summary total" that of one of its views.
var columnKeys = map[string]string{
	"time":         "time",
	"event":        "event",
	"pid":          "pid",
	"comm":         "comm",
	"uid":          "uid",
	"cgroup":       "cgroup_id",
	"container":    "container",
	"container_id": "container_id",
	"pod":          "pod",
	"namespace":    "namespace",
	"pod_uid":      "pod_uid",

	"ppid":        "ppid",
	"user":        "user",
	"command":     "args",
	"parent":      "parent_comm",
	"exe":         "exe",
	"cwd":         "cwd",
	"args":        "args",
	"duration":    "duration_us",
	"total":       "duration_us",
	"exec result": "exit_code, signal, error",
	"failed":      "failed",
	"killed":      "killed",
	"exec_failed": "exec_failed",
	"exec total":  "total_us",

	"role":         "role",
	"src":          "src_addr, src_port",
	"dst":          "dst_addr, dst_port",
	"conn_id":      "conn_id",
	"trace":        "trace_id",
	"http parent":  "parent_id",
	"conn result":  "error, reason, closed_by, result",
	"conn latency": "latency_us, age_us",
	"tx":           "tx_bytes",
	"rx":           "rx_bytes",
	"retransmits":  "retransmits",
	"srtt":         "srtt_us",
	"min_rtt":      "min_rtt_us",
	"idle":         "idle_us",
	"unread":       "unread_bytes",
	"unsent":       "unsent_bytes",
	"unacked":      "unacked_bytes",
	"age":          "age_us",
	"limited":      "busy_us, rwnd_limited_us, sndbuf_limited_us",
	"turns":        "turns",
	"turn_p50":     "turn_p50_us",
	"turn_p99":     "turn_p99_us",
	"turn_max":     "turn_max_us",
	"queue":        "queue_us",
	"backlog":      "backlog, backlog_max",

	"http latency": "latency_us, age_us",
	"status":       "status, error, closed_by, reset_code, grpc_status",
	"size":         "response_bytes",
	"sent":         "request_bytes",
	"method":       "method",
	"host":         "host",
	"path":         "path",
	"server":       "server_latency_us",
	"http peer":    "peer_comm, peer_pid, peer_pod, peer_namespace, peer_container",
	"where":        "accept_wait_us, queue_us, cpu_us, runq_us, blocked_us",
	"version":      "version",
	"stream":       "stream_id",
	"grpc":         "grpc_status, grpc_message",

	"4xx":        "status_4xx",
	"5xx":        "status_5xx",
	"unanswered": "unanswered",
	"histogram":  "",
	"state":      "",
	"last":       "last",
	"server_p50": "server_p50_us",
	"server_p99": "server_p99_us",

	"http-summary total": "total_us",
	"http-summary where": "", // those of http tell it of each exchange

	"what": "",

	"count":   "count",
	"rate":    "",
	"errors":  "errors",
	"waiting": "waiting",
	"oldest":  "oldest_us",
	"route":   "route",
	"p50":     "p50_us",
	"p90":     "p90_us",
	"p99":     "p99_us",
	"max":     "max_us",
	"first":   "first",

	"proto":        "proto",
	"port":         "dst_port",
	"tx_rate":      "",
	"rx_rate":      "",
	"part":         "",
	"traffic peer": "peer_addr",
}

// ColumnKeys returns the columns of a command, in all its views, each with its
// keys in JSON.
func ColumnKeys(command string) (columns [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(Views)) {
		if name != command && !strings.HasPrefix(name, command+" ") && !strings.HasPrefix(name, command+"-") {
			continue
		}
		view := Views[name]
		for _, c := range WithPlaces(view.Columns, view.Paged) {
			column := [2]string{c.Name, cmp.Or(columnKeys[name+" "+c.Name], columnKeys[command+" "+c.Name], columnKeys[c.Name])}
			if !slices.Contains(columns, column) {
				columns = append(columns, column)
			}
		}
	}
	return columns
}
