package exec

// A tree knows how deep a program stands below those that started it, as far as that
// was seen. It is told of each fork, start and end.
type tree map[uint32]branch // by process

// branch is where programs stand that a process starts.
type branch struct {
	depth int
	runs  bool // the process has started a program itself: that is one above
}

func (t tree) forked(pid, parent uint32) {
	if b, ok := t[parent]; ok {
		t.keep(pid, branch{depth: b.depth})
	} else {
		delete(t, pid) // of a process that had the id before
	}
}

// of is how deep a program stands that a process starts.
func (t tree) of(pid, parent uint32) int {
	if b, ok := t[pid]; ok {
		return b.depth
	}
	return t[parent].depth // 0 for one that is not known
}

// started is of for a program that has started.
func (t tree) started(pid, parent uint32) int {
	depth := t.of(pid, parent)
	t.keep(pid, branch{depth + 1, true})
	return depth
}

// ended is how deep the program stood that a process ran to its end.
func (t tree) ended(pid, parent uint32) int {
	b, ok := t[pid]
	delete(t, pid)
	switch {
	case !ok:
		return t[parent].depth
	case b.runs:
		return b.depth - 1
	}
	return b.depth
}

// keep remembers a process, as long as there is room.
func (t tree) keep(pid uint32, b branch) {
	if _, known := t[pid]; known || len(t) < maxProcesses {
		t[pid] = b
	}
}
