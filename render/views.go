package render

// Views has a row for each view, by the name of its command; a command with several
// views picks one by name.
var Views = map[string]View{
	"exec":         {Columns: execColumns, Mark: execMark},
	"exec-summary": {Columns: execSummaryColumns, Mark: execSummaryMark, Paged: true, Title: appendExecTitle},

	"conn": {Columns: connColumns, Mark: connMark},

	"conn-summary":       {Columns: connSummaryColumns, Mark: connSummaryMark, Paged: true, Title: appendConnSummaryTitle},
	"conn-summary turns": {Columns: connTurnsColumns(), Mark: connSummaryMark, Paged: true, Title: appendConnSummaryTitle},

	"traffic": trafficView(ranked(pidColumn, 55), commColumn, extra(trafficProto)),

	"traffic by program":    trafficView(commColumn, extra(trafficProto)),
	"traffic by service":    trafficView(trafficPort, trafficProto),
	"traffic by connection": trafficView(ranked(pidColumn, 55), trafficComm, trafficProto, trafficSrc, trafficDst),
	"traffic by peer":       trafficView(trafficPeer, extra(trafficProto)),
	"traffic by container":  trafficView(always("container"), ranked(always("pod"), 57), extra(trafficProto)),
	"traffic by pod":        trafficView(always("namespace"), always("pod"), extra(trafficProto)),

	"http":         {Columns: httpColumns, Mark: httpMark},
	"http-summary": {Columns: summaryColumns, Mark: summaryMark, Paged: true, Title: appendSummaryTitle, Below: appendSlowest},

	"all": {Columns: allColumns, Mark: allMark},
}
