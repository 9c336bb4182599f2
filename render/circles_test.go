package render

import (
	"testing"

	"tracer/testdata/kit/circles"
)

func TestFilesDoNotDependInCircles(t *testing.T) { circles.Check(t, ".") }
