package bpf

// LossNames are the causes of loss that the programs count in the map lost, as
// users read them. Without a name: what is no lost event.
var LossNames = [...]string{
	ExecLossRingFull:      "ring_full",
	ExecLossMapFull:       "map_full",
	ExecLossDetailMissing: "",
	ExecLossSeenByCopy:    "",
	ExecLossAcceptMissed:  "accept_missed",
	ExecLossStepMissed:    "step_missed",
}

// FilterNames are the filters whose work the programs count in the map counts, as
// users read them.
var FilterNames = map[ExecCounted]string{
	ExecCountedByPid:    "pid",
	ExecCountedByUid:    "uid",
	ExecCountedByPlace:  "place",
	ExecCountedBySelf:   "self",
	ExecCountedByPort:   "port",
	ExecCountedByFailed: "failed",
	ExecCountedBySlow:   "slow",
}

// ProtocolNames are the protocols that sockets were seen to speak, which are
// counted there, too.
var ProtocolNames = map[ExecCounted]string{
	ExecCountedSpeaksHttp1:  "http1",
	ExecCountedSpeaksHttp2:  "http2",
	ExecCountedSpeaksTls:    "tls",
	ExecCountedSpeaksOther:  "other",
	ExecCountedSpeaksUnread: "unread",
}
