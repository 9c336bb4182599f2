package option

import (
	"fmt"
	"slices"
)

// Some is a list of choices.
func Some(into *[]string, choices ...string) *Value {
	v := list(into, "choices", func(s string) (string, error) {
		if !slices.Contains(choices, s) {
			return "", fmt.Errorf("invalid value %q (choose from %s)", s, either(choices))
		}
		return s, nil
	})
	v.offers = choices
	return v
}
