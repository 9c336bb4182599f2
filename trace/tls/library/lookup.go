package library

import (
	"fmt"

	"tracer/trace/tls/code"
	"tracer/trace/tls/elf"
)

// A finder finds a library in a file.
type finder struct {
	kind Kind
	// exported are the names that are looked for among a file's dynamic symbols.
	exported []string
	find     func(*lookup) (Library, error)
}

// A lookup is a file in which functions are looked for.
type lookup struct {
	*elf.Image
	exported map[string]elf.Symbol
	decoded  map[uint64]*code.Function
}

// newLookup finds the functions that the file exports, of these names.
func newLookup(m *elf.Image, names []string) *lookup {
	return &lookup{m, m.Exported(names...), map[uint64]*code.Function{}}
}

// symbols are those of a library that the file exports, or else those that it has for
// itself, if it was not stripped. Without the anchor there is nothing.
func (l *lookup) symbols(anchor string, names ...string) map[string]elf.Symbol {
	if _, ok := l.exported[anchor]; ok {
		return l.exported
	}
	// Nearly all files lack it: to look for one name is cheaper than for all.
	if found := l.Named(anchor); len(found) == 0 {
		return nil
	}
	return l.Named(names...)
}

// code is a function's, with the size that the file tells.
func (l *lookup) code(s elf.Symbol) (*code.Function, error) {
	if f := l.decoded[s.Addr]; f != nil {
		return f, nil
	}
	if s.Size == 0 {
		if whole, ok := l.Image.Function(s.Addr); ok && whole.Addr == s.Addr {
			s.Size = whole.Size
		}
	}
	b, ok := l.Code(s.Addr)
	if !ok {
		return nil, fmt.Errorf("no code at %#x", s.Addr)
	}
	f, ok := code.New(l.Machine, b, s.Addr, s.Size)
	if !ok {
		return nil, fmt.Errorf("instructions of %s are not understood", l.Machine)
	}
	l.decoded[s.Addr] = f
	return f, nil
}

// function finds the places of one.
func (l *lookup) function(name string, use Use, s elf.Symbol) (Function, error) {
	f := Function{Name: name, Use: use}
	c, err := l.code(s)
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	convention := code.C
	if use.Go() {
		convention = code.Go
	}
	if f.Entry, err = l.spot(c.Entry(convention, use.arguments())); err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	if convention == code.C {
		if f.Return, err = l.spot(c.Return(convention, use.arguments())); err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
	}
	if use == GoWrite || use == GoHandshake || use == BIOWrite {
		return f, nil // nobody looks at their returns
	}
	for _, addr := range c.Rets() {
		off, ok := l.Offset(addr)
		if !ok {
			f.Rets = nil
			break
		}
		f.Rets = append(f.Rets, off)
	}
	return f, nil
}

func (l *lookup) spot(p code.Place, ok bool) (Spot, error) {
	if !ok {
		return Spot{}, fmt.Errorf("its code is not understood")
	}
	off, ok := l.Offset(p.Addr)
	if !ok {
		return Spot{}, fmt.Errorf("no place in the file for %#x", p.Addr)
	}
	return Spot{off, p.Stepped}, nil
}

// A wanted function is a row of a library's table.
type wanted struct {
	name string
	use  Use
}

// all finds the places of those functions that are there.
func (l *lookup) all(symbols map[string]elf.Symbol, list ...wanted) (functions []Function, err error) {
	for _, w := range list {
		s, ok := symbols[w.name]
		if !ok {
			continue
		}
		f, err := l.function(w.name, w.use, s)
		if err != nil {
			return nil, err
		}
		functions = append(functions, f)
	}
	return functions, nil
}
