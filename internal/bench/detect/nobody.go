package main

import (
	"context"
	"log/slog"

	"healer/detector"
)

// nobody is the gossip of an agent without others.
type nobody struct{}

var _ detector.Gossip = nobody{}

// Start implements detector.Gossip.
func (nobody) Start(context.Context, detector.Inbox) error { return nil }

// Send implements detector.Gossip.
func (nobody) Send([]detector.Evidence, bool) {}

// Tell implements detector.Gossip.
func (nobody) Tell(context.Context, string, []detector.Evidence) error { return nil }

// Agents implements detector.Gossip.
func (nobody) Agents() []string { return []string{"n1"} }

// Stop implements detector.Gossip.
func (nobody) Stop(context.Context, []detector.Evidence) error { return nil }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
