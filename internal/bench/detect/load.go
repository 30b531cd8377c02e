package main

import (
	"context"
	"runtime"
)

// overcommit is how many busy processes there are for each core.
const overcommit = 4

// burn starts processes that do nothing but run, and returns what ends them.
func burn(o options) (stop func(), err error) {
	var all []*process
	stop = func() {
		for _, p := range all {
			p.kill()
		}
	}
	for range overcommit * runtime.NumCPU() {
		p := &process{program: o.self, args: []string{"-burn"}}
		if err := p.start(); err != nil {
			stop()
			return nil, err
		}
		all = append(all, p)
	}
	return stop, nil
}

// spin runs until ctx ends.
func spin(ctx context.Context) error {
	for over := false; !over; {
		for range 1 << 20 {
			over = ctx.Err() != nil
		}
	}
	return nil
}
