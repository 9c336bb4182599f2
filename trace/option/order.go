package option

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
)

// An Order is the key by which the rows of a summary are sorted: what --sort says, until
// a key is pressed. Use its Flag first. Its other methods are safe for concurrent use.
type Order struct {
	keys    []string
	at      atomic.Int32
	given   bool
	changed chan struct{}
}

// Flag is the value of --sort, with the keys that a summary has, the first being the
// default. It has no text of its own, since its usage lists all of them.
func (o *Order) Flag(keys ...string) *Value {
	o.keys, o.changed = keys, make(chan struct{}, 1)
	return &Value{kind: "choice", offers: keys, text: func() string { return "" }, set: func(s string) error {
		var key string
		if err := OneOf(&key, keys...).Set(s); err != nil {
			return err
		}
		o.at.Store(int32(slices.Index(keys, key)))
		o.given = true
		return nil
	}}
}

// Usage is the text of --sort in a help.
func (o *Order) Usage() string { return "`KEY` " + strings.Join(o.keys, "|") }

// Validate says what is wrong with --sort: without a summary there is nothing to sort.
func (o *Order) Validate(summary bool) error {
	if o.given && !summary {
		return errors.New("--sort needs --summary")
	}
	return nil
}

// Key is what rows are sorted by now.
func (o *Order) Key() string { return o.keys[o.at.Load()] }

// Next changes to the next key.
func (o *Order) Next() {
	for {
		at := o.at.Load()
		if o.at.CompareAndSwap(at, (at+1)%int32(len(o.keys))) {
			break
		}
	}
	select {
	case o.changed <- struct{}{}:
	default: // who waits for it has not come yet
	}
}

// Changed has something to receive when Next was called.
func (o *Order) Changed() <-chan struct{} { return o.changed }
