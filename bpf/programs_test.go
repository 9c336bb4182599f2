package bpf

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestEveryProgramIsInOneRow(t *testing.T) {
	for _, o := range Objects {
		t.Run(o.Name, func(t *testing.T) {
			spec, err := o.Load()
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string]int{}
			for _, p := range o.Programs {
				for n := range p.Copies + p.More + 1 {
					rows[p.name(n)]++
				}
			}
			for name := range spec.Programs {
				if rows[name] != 1 {
					t.Errorf("program %q is in %d rows, not in one", name, rows[name])
				}
			}
			for name := range rows {
				if spec.Programs[name] == nil {
					t.Errorf("a row names program %q, which the object lacks", name)
				}
			}
		})
	}
}

func TestRowsSayWhatIsAtAFunction(t *testing.T) {
	for _, o := range Objects {
		spec, err := o.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range o.Programs {
			section := spec.Programs[p.Name].SectionName
			at := strings.HasPrefix(section, "fentry/") || strings.HasPrefix(section, "fexit/")
			if p.Copies+p.More > 0 && at != p.AtFunction {
				t.Errorf("%q: AtFunction is %v, its section is %q", p.Name, p.AtFunction, section)
			}
			for n := range p.Copies + p.More {
				if of := spec.Programs[p.name(n+1)]; of.SectionName != section {
					t.Errorf("%q is at %q, what it is a copy of at %q", of.Name, of.SectionName, section)
				}
			}
		}
	}
}

func TestProgramsAreListedWithTheirCopies(t *testing.T) {
	for _, c := range []struct {
		name     string
		preempts bool
		programs []string
		want     string
	}{
		{"none that no kernel needs", false, []string{"exec_process_exec", "exec_sys_exit"}, "exec_process_exec exec_sys_exit"},
		{"more where programs are preempted", true, []string{"exec_process_exec"}, "exec_process_exec exec_process_exec_copy1 exec_process_exec_copy2"},
		{"some on every kernel", false, []string{"conn_set_state"}, "conn_set_state conn_set_state_copy1"},
		{"both", true, []string{"conn_set_state"}, "conn_set_state conn_set_state_copy1 conn_set_state_copy2 conn_set_state_copy3"},
		{"the first one last at a function", false, []string{"conn_accept_fentry"}, "conn_accept_fentry_copy2 conn_accept_fentry_copy1 conn_accept_fentry"},
		{"what is unknown as it is", true, []string{"x"}, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(Expand(c.preempts, c.programs...), " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestACopyIsFoundByItsName(t *testing.T) {
	for _, c := range []struct {
		program string
		row     string
		number  int
	}{
		{"conn_sys_exit", "conn_sys_exit", 0},
		{"conn_sys_exit_copy2", "conn_sys_exit", 2},
		{"conn_sys_exit_raw", "conn_sys_exit_raw", 0},
		{"conn_sys_exit_copy3", "", 0},
		{"conn", "", 0},
	} {
		row, number := Find(c.program)
		name := ""
		if row != nil {
			name = row.Name
		}
		if name != c.row || number != c.number {
			t.Errorf("%q: got %q %d, want %q %d", c.program, name, number, c.row, c.number)
		}
	}
}

// All objects of a session use the same maps, and these have to fit all of them.
func TestSharedMapsAreTheSameInAllObjects(t *testing.T) {
	type shape struct {
		kind            any
		key, value, max uint32
	}
	first := map[string]shape{}
	for _, o := range Objects {
		spec, err := o.Load()
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range spec.Maps {
			if !slices.Contains(SharedMaps, name) {
				continue
			}
			is := shape{m.Type, m.KeySize, m.ValueSize, m.MaxEntries}
			if was, ok := first[name]; ok && is != was {
				t.Errorf("map %q of %s: %v, of another object: %v", name, o.Name, is, was)
			}
			first[name] = is
		}
	}
	if len(first) != len(SharedMaps) {
		t.Errorf("of %v only %v are in objects", SharedMaps, first)
	}
}

// values are the constants of an enum of the object exec.
func values(t *testing.T, enum string) []btf.EnumValue {
	t.Helper()
	spec, err := LoadExec()
	if err != nil {
		t.Fatal(err)
	}
	var e *btf.Enum
	if err := spec.Types.TypeByName(enum, &e); err != nil {
		t.Fatal(err)
	}
	return e.Values
}

func TestEveryCauseOfLossHasAName(t *testing.T) {
	causes := values(t, "loss")
	if len(causes) != len(LossNames) {
		t.Fatalf("%d causes, %d names", len(causes), len(LossNames))
	}
	for _, v := range causes {
		if got := LossNames[v.Value]; got != v.Name && got != "" {
			t.Errorf("%s is called %q", v.Name, got)
		}
	}
}

func TestEverythingCountedHasAName(t *testing.T) {
	counted := values(t, "counted")
	if len(counted) != len(FilterNames)+len(ProtocolNames) {
		t.Errorf("%d things are counted, %d have names", len(counted), len(FilterNames)+len(ProtocolNames))
	}
	for _, v := range counted {
		what := ExecCounted(v.Value)
		if filter, ok := strings.CutPrefix(v.Name, "by_"); ok && FilterNames[what] != filter {
			t.Errorf("%s is called %q", v.Name, FilterNames[what])
		} else if protocol, ok := strings.CutPrefix(v.Name, "speaks_"); ok && ProtocolNames[what] != protocol {
			t.Errorf("%s is called %q", v.Name, ProtocolNames[what])
		}
	}
}

// What is read of an object has the programs that were asked for, whole, and all else that
// is not a program.
func TestReadLeavesOutNothingThatIsWanted(t *testing.T) {
	for _, o := range Objects {
		all, err := o.Load()
		if err != nil {
			t.Fatal(err)
		}
		most, used := 0, map[string]bool{}
		for _, p := range all.Programs {
			for _, ins := range p.Instructions {
				if ins.IsLoadFromMap() {
					used[ins.Reference()] = true
				}
			}
		}
		for name, want := range all.Programs {
			spec, err := Read(o.Name, name)
			if err != nil {
				t.Fatal(err)
			}
			got := spec.Programs[name]
			if got == nil || len(got.Instructions) != len(want.Instructions) {
				t.Errorf("%s: %q is not whole", o.Name, name)
			}
			for m := range all.Maps {
				// A function that no program calls may use further ones.
				if (used[m] || m[0] == '.') && spec.Maps[m] == nil {
					t.Errorf("%s: for %q map %q is missing", o.Name, name, m)
				}
			}
			if len(spec.Variables) != len(all.Variables) {
				t.Errorf("%s: for %q %d variables are read, want %d", o.Name, name, len(spec.Variables), len(all.Variables))
			}
			most = max(most, len(spec.Programs))
		}
		if spec, err := Read(o.Name); err != nil || o.Name == "follow" && len(spec.Maps) >= len(all.Maps) {
			t.Errorf("%s: maps that are nobody's are read: %v", o.Name, err)
		}
		if n := len(all.Programs); n > 4 && most > n-2 && o.Name != "tls" { // whose programs have one section
			t.Errorf("%s: of %d programs up to %d are read for one", o.Name, n, most)
		}
	}
	if _, err := Read("nothing"); err == nil {
		t.Error("an object that is not there was read")
	}
}
