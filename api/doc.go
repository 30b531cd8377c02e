// Package api is what an agent shows of itself over HTTP: liveness, readiness,
// status, metrics and a live stream of events.
//
// It promises that asking never disturbs: a page is made from what the agent
// has already observed, no request reaches a server of the mesh, and every
// request is bounded. It only shows; nothing can be changed through it. It must
// never import a PostgreSQL or NATS client: the agent is its Source.
package api
