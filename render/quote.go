package render

import (
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendText appends text from the traced world so that a terminal shows it and does
// not obey it: printable characters as they are, all else escaped, as \x1b. A
// backslash is doubled, so that no text can look like an escaped one.
func AppendText(b []byte, s string) []byte { return appendText(b, s, true) }

// AppendMessage appends a sentence of our own in the same way, but leaves backslashes:
// text from the traced world is quoted in it already.
func AppendMessage(b []byte, s string) []byte { return appendText(b, s, false) }

func appendText(b []byte, s string, double bool) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c >= ' ' && c < 0x7f && c != '\\' {
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\\' && !double || r != '\\' && printable(r, n) {
			b = append(b, s[i:i+n]...)
		} else {
			b = appendEscaped(b, s[i:i+n], r)
		}
		i += n
	}
	return b
}

// AppendShell appends an argument so that a POSIX shell reads it back unchanged. One
// with bytes that cannot be shown is quoted as $'…' (POSIX.1-2024, 2.2.4), which bash,
// zsh, ksh and busybox know. first: it is the first word of a command.
func AppendShell(b []byte, arg string, first bool) []byte {
	plain, visible := arg != "", true
	for i := 0; i < len(arg); {
		c := arg[i]
		if isPlain(c) {
			if c == '=' && first {
				plain = false // the shell would assign a variable
			}
			i++
			continue
		}
		plain = false
		r, n := utf8.DecodeRuneInString(arg[i:])
		if !printable(r, n) {
			visible = false
			break
		}
		i += n
	}
	switch {
	case plain:
		return append(b, arg...)
	case visible:
		b = append(b, '\'')
		for i := 0; i < len(arg); i++ {
			if arg[i] == '\'' {
				b = append(b, `'\''`...)
			} else {
				b = append(b, arg[i])
			}
		}
		return append(b, '\'')
	}
	b = append(b, '$', '\'')
	for i := 0; i < len(arg); {
		r, n := utf8.DecodeRuneInString(arg[i:])
		switch {
		case r == '\'':
			b = append(b, '\\', '\'')
		case printable(r, n) && r != '\\':
			b = append(b, arg[i:i+n]...)
		default:
			b = appendEscaped(b, arg[i:i+n], r)
		}
		i += n
	}
	return append(b, '\'')
}

// AppendCommand appends arguments as a line for a shell.
func AppendCommand(b []byte, args []string) []byte {
	for i, a := range args {
		if i > 0 {
			b = append(b, ' ')
		}
		b = AppendShell(b, a, i == 0)
	}
	return b
}

// isPlain reports whether a byte has no meaning to a shell.
func isPlain(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	switch c {
	case '_', '@', '%', '+', '=', ':', ',', '.', '/', '-':
		return true
	}
	return false
}

// printable reports whether the character r, decoded from n bytes, is safe for a
// terminal. Control characters, format characters (which reorder or hide text),
// private use and invalid UTF-8 are not.
func printable(r rune, n int) bool {
	if r == utf8.RuneError && n <= 1 {
		return false
	}
	return r == ' ' || unicode.IsPrint(r)
}

// appendEscaped appends each byte of s, which is the character r, as \xNN; a
// backslash is doubled.
func appendEscaped(b []byte, s string, r rune) []byte {
	if r == '\\' {
		return append(b, '\\', '\\')
	}
	for i := 0; i < len(s); i++ {
		b = append(b, '\\', 'x', hexDigits[s[i]>>4], hexDigits[s[i]&15])
	}
	return b
}
