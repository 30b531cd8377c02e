// Package api is what an agent shows of itself over HTTP: liveness, readiness,
// status, metrics and a live stream of events.
//
// It promises that asking never disturbs: a page is made from what the agent
// has already observed, no request reaches a server of the mesh, and every
// request is bounded. What changes something is a POST below /v1/control, guarded
// by a token, or without one open to the host itself only. It must never import a PostgreSQL or NATS client: the agent is its Source.
package api
