package enginetest

import (
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/engine"
)

// Case is an engine, with what a test has to know of it.
type Case struct {
	// Mesh is localpg's name of the engine, New makes one that knows no other.
	Mesh string
	New  func(engine.Options) *engine.Engine
	// Plugin is the output plugin of recovery slots.
	Plugin string
	// Disable is the statement by which somebody else disables a subscription.
	Disable func(name string) string
	// Nudge is a statement by which a subscription connects at once to a provider that was
	// restarted; empty where it does so by itself. It may end the worker.
	Nudge func(name string) string
	// Knows is a query: whether the server's catalogs know of another node, $1.
	Knows string
}

// schema is that of all meshes of the suite.
func schema() []string { return []string{"CREATE TABLE kv (k bigint PRIMARY KEY, v text)"} }

// Run runs the contract over the engine, on two meshes: one that the tests leave as they
// found it, and one that they break and mend, one after the other.
func Run(t *testing.T, c Case) {
	t.Run("steady", func(t *testing.T) {
		t.Parallel()
		r := c.rig(t, pgtest.Mesh(t, localpg.Options{Engine: c.Mesh, Schema: schema()}))
		r.run("DiscoversTheWholeMesh", discovers)
		r.run("AuthorsAreTold", authors)
		r.run("BarrierUnderLoad", barrier)
		r.run("SlotFromSeedToClone", slots)
		r.run("AdoptedSlot", adopts)
		r.run("DecodesByOrigin", decodes)
		r.run("LeavesAStrangersDisableAlone", stranger)
	})
	t.Run("shaky", func(t *testing.T) {
		t.Parallel()
		r := c.rig(t, pgtest.Mesh(t, localpg.Options{Engine: c.Mesh, Schema: schema(), Links: true}))
		r.run("FenceOfAHangingNode", hanging)
		r.run("FenceOfADeadNodeTwiceAndBack", dead)
		r.run("FenceSurvivesACrash", crashedFence)
		r.run("ProgressAfterACrash", crashedProgress)
		r.run("DropOfADeadNode", drops)
	})
}
