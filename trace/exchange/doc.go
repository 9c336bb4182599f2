// Package exchange puts exchanges together: what both ends of a connection saw becomes
// one exchange, and many exchanges become the rows of a summary.
//
//	join.go     the client's end and the server's end → one
//	summary.go  exchanges → a row per method, host and route
//	route.go    a request target → its route
//
// It knows no protocol and no eBPF: messages come as [message.Exchange], the ends of
// connections as [End]. Start with [Join].
package exchange
