//go:build !failpoints

package app

import (
	"healer/executor"
	"healer/planner"
)

// failpoint is nil: agents die by themselves only in tests, which are built with
// the tag failpoints.
func failpoint() func(executor.At, planner.Step) error { return nil }
