package render

import (
	"bytes"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestAppendText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain text", "a b-c", "a b-c"},
		{"nothing", "", ""},
		{"quotes mean nothing", `'"$`, `'"$`},
		{"escape sequences", "\x1b[2J\x1b]0;owned\x07", `\x1b[2J\x1b]0;owned\x07`},
		{"newlines and tabs", "a\r\n\tb", `a\x0d\x0a\x09b`},
		{"text that looks escaped", `\x1b`, `\\x1b`},
		{"DEL and NUL", "\x7f\x00", `\x7f\x00`},
		{"C1 controls, as one character and as bytes", "\u009b2J\x9b2J", `\xc2\x9b2J\x9b2J`},
		{"letters of all scripts", "é日本語ю", "é日本語ю"},
		{"combining marks", "e\u0301", "e\u0301"},
		{"emoji", "🦀", "🦀"},
		{"what reorders a line", "\u202egpj\u2066\u200f", `\xe2\x80\xaegpj\xe2\x81\xa6\xe2\x80\x8f`},
		{"what cannot be seen", "a\u200bb\u00adc\ufeffd\u2060e\U000e0041", `a\xe2\x80\x8bb\xc2\xadc\xef\xbb\xbfd\xe2\x81\xa0e\xf3\xa0\x81\x81`},
		{"spaces that are none", "a\u00a0b\u2028c\u3000d", `a\xc2\xa0b\xe2\x80\xa8c\xe3\x80\x80d`},
		{"private use", "\ue000\U0010ffff", `\xee\x80\x80\xf4\x8f\xbf\xbf`},
		{"what is no UTF-8", "\xff\xc3(\xed\xa0\x80", `\xff\xc3(\xed\xa0\x80`},
		{"the replacement character itself", "\ufffd", "\ufffd"},
	} {
		if diff := cmp.Diff(c.want, string(AppendText([]byte("x"), c.text))[1:]); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// shellTable are arguments and how they stand in a line, behind the first word.
var shellTable = []struct{ name, arg, want string }{
	{"a plain word", "make", "make"},
	{"an option", "--x=1,2", "--x=1,2"},
	{"a path", "/a-b/c_d.e+f@g%h:i", "/a-b/c_d.e+f@g%h:i"},
	{"nothing", "", "''"},
	{"a space", "a b", "'a b'"},
	{"only a space", " ", "' '"},
	{"a quote", "it's", `'it'\''s'`},
	{"only a quote", "'", `''\'''`},
	{"double quotes", `"a"`, `'"a"'`},
	{"a backslash", `a\nb`, `'a\nb'`},
	{"an escaped quote", `\'`, `'\'\'''`},
	{"expansions", "$HOME `id` $(id) ~ *", "'$HOME `id` $(id) ~ *'"},
	{"a home", "~root", "'~root'"},
	{"a history", "!!", "'!!'"},
	{"braces", "{a,b}", "'{a,b}'"},
	{"a comment", "#x", "'#x'"},
	{"operators", "a;b&c|d<e>f", "'a;b&c|d<e>f'"},
	{"a pattern", "[a-z]?", "'[a-z]?'"},
	{"letters of all scripts", "日本 é", "'日本 é'"},
	{"letters without a space", "é", "'é'"},
	{"a newline", "a\nb", `$'a\x0ab'`},
	{"an escape sequence", "\x1b[2J", `$'\x1b[2J'`},
	{"digits behind what is escaped", "\x01" + "23\x7fab", `$'\x0123\x7fab'`},
	{"a quote and a backslash beside it", "'\\\n", `$'\'\\\x0a'`},
	{"a newline at the end", "a\n", `$'a\x0a'`},
	{"what is no UTF-8", "\xff", `$'\xff'`},
	{"half a letter", "é\xc3", `$'é\xc3'`},
	{"what reorders a line", "\u202ex", `$'\xe2\x80\xaex'`},
	{"a dollar that is not at its start", "$'\n", `$'$\'\x0a'`},
}

func TestAppendShell(t *testing.T) {
	for _, c := range shellTable {
		if diff := cmp.Diff(c.want, string(AppendShell(nil, c.arg, false))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	// A first word with an equals sign would be an assignment.
	for arg, want := range map[string]string{"a=b": "'a=b'", "=": "'='", "make": "make", "a\n=": `$'a\x0a='`} {
		if got := string(AppendShell(nil, arg, true)); got != want {
			t.Errorf("%q as a command: %s, want %s", arg, got, want)
		}
	}
}

func TestAppendCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{""}, "''"},
		{[]string{"env", "A=b c", "D=e", ""}, "env 'A=b c' D=e ''"},
		{[]string{"A=b", "A=b"}, "'A=b' A=b"},
		{[]string{"rm", "-rf", "--", "-x\n"}, `rm -rf -- $'-x\x0a'`},
	} {
		if got := string(AppendCommand([]byte("$ "), c.args)); got != "$ "+c.want {
			t.Errorf("%q: %s, want $ %s", c.args, got, c.want)
		}
	}
}

func TestShellsReadBackWhatWasQuoted(t *testing.T) {
	args := []string{"printf"}
	for _, c := range shellTable {
		args = append(args, c.arg)
	}
	for i := 1; i < 256; i++ {
		args = append(args, string([]byte{byte(i)}), "a"+string([]byte{byte(i)})+"0", string(rune(i)))
	}
	var all []byte
	for i := 1; i < 256; i++ {
		all = append(all, byte(i))
	}
	args = append(args, string(all), string(all)+"'"+string(all))
	for _, shell := range [][]string{{"bash", "--norc"}, {"busybox", "ash"}, {"zsh", "-f"}, {"ksh"}} {
		t.Run(shell[0], func(t *testing.T) {
			path, err := exec.LookPath(shell[0])
			if err != nil {
				t.Skip("needs", shell[0])
			}
			line := AppendCommand([]byte(`show() { printf '%s\0' "$@"; }; show `), args)
			cmd := exec.Command(path, append(shell[1:], "-c", string(line))...)
			cmd.Env = []string{"LC_ALL=C"}
			out, err := cmd.Output()
			if exit := new(exec.ExitError); errors.As(err, &exit) {
				t.Fatalf("%v: %s", err, exit.Stderr)
			} else if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
			if diff := cmp.Diff(args, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzAppendText: what comes out can be shown, and no two texts look the same:
// the text can be told from what is shown.
func FuzzAppendText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := string(AppendText(nil, text))
		checkPrintable(t, shown)
		if got := unescape(t, shown, false); got != text {
			t.Errorf("%q is shown as %s, which is %q", text, shown, got)
		}
	})
}

// FuzzAppendShell: what comes out can be shown, and a shell reads it back as it
// was, whether as a command or as an argument.
func FuzzAppendShell(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	for _, c := range shellTable {
		f.Add(c.arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.Contains(arg, "\x00") {
			return // which no argument can hold
		}
		for _, first := range []bool{true, false} {
			line := string(AppendShell(nil, arg, first))
			checkPrintable(t, line)
			if got := unquote(t, line, first); got != arg {
				t.Errorf("%q is quoted as %s, which is %q", arg, line, got)
			}
		}
		words := AppendCommand(nil, []string{arg, arg})
		if want := string(AppendShell(nil, arg, true)) + " " + string(AppendShell(nil, arg, false)); string(words) != want {
			t.Errorf("%s, want %s", words, want)
		}
	})
}

// hostile is text with what has ever broken a terminal.
var hostile = []string{
	"", `\`, `\x1b`, "\x1b[2J\x1b]0;owned\x07", "a\r\n\tb", "\x7f", "\u0080\u009b\u009f", "\x9b\xff", "\xc3", "é\xe9é", "\ufffd",
	"日本語", "👩‍👩‍👧", "👍🏻🏻🏻", "a🏻🏻", "ｶﾞｶﾞ", "❤️", "🇩🇪🇩🇪", "e\u0301\u0301", "কা", "\U0010ffff", "\u202egpj.exe", "\u2028\u2029",
}

func checkPrintable(t *testing.T, shown string) {
	t.Helper()
	if !utf8.ValidString(shown) {
		t.Fatalf("not UTF-8: %q", shown)
	}
	for i, r := range shown {
		if !unicode.IsPrint(r) {
			t.Fatalf("%U at %d of %q", r, i, shown)
		}
	}
}

// unescape is the reverse of AppendText; in a shell's $'…' a quote is escaped
// too.
func unescape(t *testing.T, s string, quote bool) string {
	t.Helper()
	var b []byte
	for len(s) > 0 {
		switch {
		case s[0] != '\\':
			if quote && s[0] == '\'' {
				t.Fatalf("a bare quote: %s", s)
			}
			b, s = append(b, s[0]), s[1:]
		case strings.HasPrefix(s, `\\`), quote && strings.HasPrefix(s, `\'`):
			b, s = append(b, s[1]), s[2:]
		case strings.HasPrefix(s, `\x`) && len(s) >= 4:
			n, err := strconv.ParseUint(s[2:4], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			b, s = append(b, byte(n)), s[4:]
		default:
			t.Fatalf("a backslash that means nothing: %s", s)
		}
	}
	return string(b)
}

// unquote reads a word as a shell does (POSIX.1-2024, XCU 2.2); what the shell
// would expand, or take for an operator, is an error.
func unquote(t *testing.T, s string, first bool) string {
	t.Helper()
	if rest, ok := strings.CutPrefix(s, "$'"); ok {
		rest, ok = strings.CutSuffix(rest, "'")
		if !ok {
			t.Fatalf("$' without an end: %s", s)
		}
		return unescape(t, rest, true)
	}
	var b []byte
	if s == "" {
		t.Fatal("no word at all")
	}
	for len(s) > 0 {
		switch c := s[0]; {
		case c == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				t.Fatalf("a quote without an end: %s", s)
			}
			b, s = append(b, s[1:1+end]...), s[end+2:]
		case strings.HasPrefix(s, `\'`):
			b, s = append(b, '\''), s[2:]
		case c >= utf8.RuneSelf, strings.IndexByte(" \t\n|&;<>()$`\\\"*?[]#~!{}^", c) >= 0, first && c == '=':
			t.Fatalf("a bare %q: %s", c, s)
		default:
			b, s = append(b, c), s[1:]
		}
	}
	return string(b)
}

func TestQuotingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	args := []string{"make", "a b", "it's", "\x1b[2J", "日本"}
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendCommand(buf[:0], args)
		buf = AppendText(buf, args[3])
	}); n != 0 || !bytes.Contains(buf, []byte("make")) {
		t.Errorf("%v allocations", n)
	}
}
