package session

import "tracer/trace/proc"

// leastRoom is how many sockets there is room for at least.
const leastRoom = 131072

// SocketRoom is how many entries a map by socket is to have, each of so many bytes: twice
// as many as there are sockets now.
func (o *Options) SocketRoom(bytes uint32) uint32 {
	if o.Limits.Socks > 0 {
		return o.Limits.Socks
	}
	least := uint64(leastRoom)
	if o.Limits.LeastSocks > 0 {
		least = uint64(o.Limits.LeastSocks)
	}
	host := proc.Dir("/proc")
	sockets, err := host.TCPSockets()
	if err != nil {
		return uint32(least) // what is more is counted as lost
	}
	memory, err := host.MemAvailable()
	if err != nil {
		return uint32(least)
	}
	return roomFor(sockets, memory, uint64(bytes), least)
}

// roomFor leaves to others most of the memory that there is, and makes no room smaller
// for that than it is for a host with few sockets. The kernel's own bookkeeping of an
// entry comes to about entryBytes.
func roomFor(sockets, memory, bytes, least uint64) uint32 {
	const entryBytes, part, most = 64, 16, 1 << 24
	room := min(2*sockets, memory/part/(bytes+entryBytes), most)
	return uint32(max(room, least))
}
