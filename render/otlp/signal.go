package otlp

import "fmt"

// A signal is a kind of data.
type signal int

const (
	traces signal = iota
	logs
	metrics
	signals
)

func (s signal) path() string { return [...]string{"v1/traces", "v1/logs", "v1/metrics"}[s] }

// items is a number of them.
func (s signal) items(n uint64) string {
	text := [...]string{"span", "log record", "data point"}[s]
	if n != 1 {
		text += "s"
	}
	return fmt.Sprintf("%d %s", n, text)
}
