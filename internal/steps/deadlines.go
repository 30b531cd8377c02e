package steps

import (
	"time"

	"healer/config"
	"healer/planner"
)

// Deadlines maps the file's limits to the kinds of steps.
func Deadlines(r config.Recovery) map[planner.StepKind]time.Duration {
	short := r.StepTimeout
	return map[planner.StepKind]time.Duration{
		planner.StepFence: short + r.DrainTimeout, planner.StepObserve: short, planner.StepClone: short,
		planner.StepAdvance: r.SubscribeTimeout, planner.StepSubscribe: r.SubscribeTimeout,
		planner.StepRows:   r.SubscribeTimeout,
		planner.StepVerify: r.VerifyTimeout, planner.StepRelease: short,
		planner.StepCompare: r.SubscribeTimeout,
		planner.StepCheck:   short, planner.StepUnfence: short, planner.StepDrain: r.SubscribeTimeout,
	}
}
