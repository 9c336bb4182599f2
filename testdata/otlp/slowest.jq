#!/usr/bin/env -S jq -rnf
# The slowest routes and the pods that serve them, of a file that collector.yaml has
# written: requests, p50 and p99 in ms, route, pod.
#
#   testdata/otlp/slowest.jq otlp.jsonl
def attributes: map({(.key): (.value | (.stringValue // (.intValue | tonumber? // .) // .boolValue))}) | add // {};
def percentile(p): sort | .[((length - 1) * p / 100) | floor];
[
	inputs.resourceSpans[]?
	| (.resource.attributes | attributes) as $who
	| .scopeSpans[].spans[]
	| select(.kind == 2)
	| {
		route: (.attributes | attributes | "\(.["http.request.method"]) \(.["tracer.route"] // .["url.path"])"),
		pod: ($who["k8s.pod.name"] // $who["service.name"]),
		ms: (((.endTimeUnixNano | tonumber) - (.startTimeUnixNano | tonumber)) / 1e6)
	}
]
| group_by([.route, .pod])
| map({route: .[0].route, pod: .[0].pod, n: length, p50: (map(.ms) | percentile(50)), p99: (map(.ms) | percentile(99))})
| sort_by(-.p99)[:20][]
| [.n, (.p50 * 100 | round / 100), (.p99 * 100 | round / 100), .route, .pod]
| @tsv
