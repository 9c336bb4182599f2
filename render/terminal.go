package render

import (
	"os"

	"golang.org/x/term"
)

// Width is the number of cells in a line of file, 0 if it is no terminal or does
// not tell.
func Width(file *os.File) int {
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

// Sequences that enter the alternate screen, hide the cursor and stop lines from
// wrapping (with --wide they end at the terminal's edge), and that undo all that. A
// terminal without an alternate screen is cleared.
const (
	clearScreen = "\x1b[H\x1b[2J"
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" + clearScreen
	leaveScreen = clearScreen + "\x1b[?7h\x1b[?1049l\x1b[?25h"
)
