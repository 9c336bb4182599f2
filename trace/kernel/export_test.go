package kernel

// Asleep reports whether the object's reader waits to be woken.
func (o *Object) Asleep() bool { return o.reader.idle(Now()) != 0 }
