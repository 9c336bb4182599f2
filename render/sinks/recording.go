package sinks

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/help"
	"tracer/render/recording"
	"tracer/trace/option"
)

// leastRotated and mostRotated bound how large a file of a recording may become before
// the next one begins.
const leastRotated, mostRotated = 1 << 10, 1 << 50

// Recording is the sink of --write: a file.
type Recording struct {
	path   string
	rotate option.Rotation
	target *recording.Target
	file   *recording.Recording // nil: not open
}

// Flags declares its flags.
func (r *Recording) Flags(f *pflag.FlagSet) {
	f.VarP(option.Text(&r.path), "write", "w", "`FILE` also record into this file, as JSON lines, with what is said on stderr; compressed if it ends in .gz or .zst")
	f.Var(r.rotate.Value(leastRotated, mostRotated), "rotate", "`SIZE[,N]` with --write: begin a new file beyond this size (100MiB), keep the last N (default all)")
}

// Resolve checks what the flags say together: read are the files that are read meanwhile.
func (r *Recording) Resolve(flags *pflag.FlagSet, read []string) error {
	if err := r.clash(flags, read); err != nil {
		return err
	}
	switch {
	case r.path == "-":
		return help.Hint(errors.New("--write: - is no file"), "use --json: it writes the same lines to stdout")
	case r.path == "" && r.rotate.Size > 0:
		return errors.New("--rotate: --write is missing")
	}
	return nil
}

// clash says which other flag names the same file, which would be lost.
func (r *Recording) clash(flags *pflag.FlagSet, read []string) error {
	if r.path == "" {
		return nil
	}
	file, err := os.Stat(r.path)
	if err != nil || !file.Mode().IsRegular() {
		return nil // there is nothing to be lost
	}
	same := func(path string) bool {
		other, err := os.Stat(path)
		return err == nil && os.SameFile(file, other)
	}
	if slices.ContainsFunc(read, same) {
		return fmt.Errorf("--write: %s is read", r.path)
	}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "write" && same(f.Value.String()) {
			err = fmt.Errorf("--write: %s is the file of --%s", r.path, f.Name)
		}
	})
	return err
}

// Prepare does what must be done before tracing begins and privileges are dropped. The
// files will belong to a user and a group, if there is one who called sudo.
func (r *Recording) Prepare(uid, gid int, sudo bool) (err error) {
	if r.path == "" {
		return nil
	}
	o := recording.Options{Path: r.path, Rotate: r.rotate.Size, Keep: r.rotate.Keep}
	if sudo {
		o.Owner = &recording.Owner{UID: uid, GID: gid}
	}
	r.target, err = recording.Prepare(o)
	return withFlag(err)
}

// Open replaces the file, and has it take what messages tells from now on. It returns nil
// if nothing is to be recorded.
func (r *Recording) Open(messages *render.Messages) (*recording.Recording, error) {
	if r.target == nil {
		return nil, nil
	}
	file, err := r.target.Open(messages.Notice)
	if err != nil {
		return nil, withFlag(err)
	}
	r.file = file
	messages.Record(file.Line)
	return file, nil
}

// Failed is why the recording is not whole, as far as that is known; nil: it is.
func (r *Recording) Failed() error {
	if r.file == nil {
		return nil
	}
	return r.file.Failed()
}

// Finish ends the recording, after the last message. It returns why it is not whole; nil:
// it is.
func (r *Recording) Finish() error {
	if r.file == nil {
		return nil
	}
	return r.file.Finish()
}

// Close ends the recording, whatever happened before. It may be called more than once.
func (r *Recording) Close() {
	_ = r.Finish() // who cares has asked before
	r.target.Close()
}

// withFlag says which flag an error is about.
func withFlag(err error) error {
	if err == nil {
		return nil
	}
	named := errors.New("--write: " + err.Error())
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return help.Hint(named, hinted.Hint())
	}
	return named
}

// Become is the other side of a sink that has a process of its own: there it never
// returns, in any other process it does nothing. main calls it first.
func Become() { recording.Become() }
