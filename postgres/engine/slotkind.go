package engine

import (
	"maps"

	"healer/topology"
)

// feed remembers which slots of which providers feed the node.
func (e *Engine) feed(node string, subs []topology.Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, slots := range e.feeds {
		for slot, to := range slots {
			if to == node {
				delete(slots, slot)
			}
		}
	}
	for _, s := range subs {
		if s.Provider == "" || s.Slot == "" {
			continue
		}
		if e.feeds[s.Provider] == nil {
			e.feeds[s.Provider] = make(map[string]string)
		}
		e.feeds[s.Provider][s.Slot] = node
	}
}

// Feeds has, by provider and slot, the node that the slot feeds, to be given to
// New in the next life: once that node is lost, nobody else can tell.
func (e *Engine) Feeds() map[string]map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[string]map[string]string, len(e.feeds))
	for provider, slots := range e.feeds {
		out[provider] = maps.Clone(slots)
	}
	return out
}

// classify says of each slot what it is to Healer. A slot that feeds a
// subscription not seen yet is foreign until it is.
func (e *Engine) classify(node string, slots []topology.Slot) {
	known := e.slotNames(node)
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range slots {
		s := &slots[i]
		s.Kind, s.To, s.Origin = topology.SlotForeign, "", ""
		if own, ok := known[s.Name]; ok {
			s.Kind, s.To, s.Origin = own.Kind, own.To, own.Origin
		} else if to, ok := e.feeds[node][s.Name]; ok {
			s.Kind, s.To = topology.SlotMesh, to
		}
	}
}

// slotNames has every name that a slot of Healer's may have on the node.
func (e *Engine) slotNames(node string) map[string]topology.Slot {
	names := make(map[string]topology.Slot)
	s, ok := e.servers[node]
	if !ok {
		return names
	}
	db := s.Database()
	for _, to := range e.names {
		if to == node {
			continue
		}
		names[topology.RecoverySlotName(db, node, to)] = topology.Slot{Kind: topology.SlotRecovery, To: to}
		names[topology.SeedSlotName(db, node, to)] = topology.Slot{Kind: topology.SlotSeed, To: to}
		names[topology.MeshSlotName(db, node, to)] = topology.Slot{Kind: topology.SlotMesh, To: to}
		for _, origin := range e.names {
			if origin != node && origin != to {
				names[topology.CloneSlotName(db, node, to, origin)] = topology.Slot{Kind: topology.SlotClone, To: to, Origin: origin}
			}
		}
	}
	return names
}
