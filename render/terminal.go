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
