package work

// What tests do with sockets of their own, each of which panics if it cannot.

// Dial opens a connection.
func Dial(host string, port int) int { return dial(host, port) }

// Accept takes a connection from a socket that listens.
func Accept(fd int) int { return accept(fd) }

// CloseFD closes a socket.
func CloseFD(fd int) { closeFD(fd) }

// DropAll makes a socket take no notice of any packet.
func DropAll(fd int) { dropAll(fd) }
