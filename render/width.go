package render

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func appendSpaces(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}

// textWidth is the number of cells that text takes at most.
func textWidth(text []byte) int {
	width := 0
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf { // nearly all are
			width++
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		width += runeWidth(r)
		i += n
	}
	return width
}

// runeWidth is the number of cells that a character takes at most. Terminals
// differ in which characters they join into one shape, and a row must not wrap on
// any of them. So only what every terminal joins is counted as joined.
func runeWidth(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case r == 0xfe0f: // variation selector: may make the character before it wide
		return 1
	case r >= 0x1f3fb && r <= 0x1f3ff: // skin colour of an emoji, or an emoji itself
		return 2
	case unicode.In(r, unicode.Mn, unicode.Me):
		// Terminals with older tables give a cell to some combining marks.
		return ansi.StringWidthWc(string(r))
	}
	return max(1, ansi.StringWidth(string(r)), ansi.StringWidthWc(string(r)))
}

// cut shortens text in place to so many cells. The last one is an ellipsis.
func cut(text []byte, width int) []byte {
	end := 0
	for width--; end < len(text); {
		r, n := utf8.DecodeRune(text[end:])
		if width -= runeWidth(r); width < 0 {
			break
		}
		end += n
	}
	return append(text[:end], "…"...)
}

// cutStart shortens text to so many cells: an ellipsis and the text's end.
func cutStart(text []byte, width int) []byte {
	start := len(text)
	for width--; start > 0; {
		r, n := utf8.DecodeLastRune(text[:start])
		if width -= runeWidth(r); width < 0 {
			break
		}
		start -= n
	}
	return append([]byte("…"), text[start:]...)
}

// cutHost shortens a host to so many cells. It keeps its port, which often is all that
// tells two services apart.
func cutHost(text []byte, width int) []byte {
	digits := len(text)
	for digits > 0 && '0' <= text[digits-1] && text[digits-1] <= '9' {
		digits--
	}
	if digits == 0 || digits == len(text) || text[digits-1] != ':' {
		return cut(text, width)
	}
	port := string(text[digits-1:])
	if width < len(port)+2 {
		return cut(text, width)
	}
	return append(cut(text[:digits-1], width-len(port)), port...)
}

// wrap breaks text into lines of so many cells, between words where that is
// possible.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && textWidth([]byte(line))+1+textWidth([]byte(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			word = " " + word
		}
		for line += word; textWidth([]byte(line)) > width; {
			end := len(cut([]byte(line), width+1)) - len("…")
			if end == 0 {
				break // not even one character fits
			}
			lines = append(lines, line[:end])
			line = line[end:]
		}
	}
	return append(lines, line)
}
