// Package gossip carries evidence between the healer agents of one mesh, over
// hashicorp/memberlist.
//
// It promises: only agents of the same cluster, under configured names, are
// heard; who is refused is counted. Evidence goes straight to every member at
// once and, when it is urgent, is spread again by gossip in case the first
// packet was lost. A member that is missing is asked to join again for ever, so
// a partition heals by itself. A planned leave travels as evidence, because
// memberlist does not tell a leave from a death.
//
// It must never judge anything: that an agent is gone says nothing of its node.
package gossip
