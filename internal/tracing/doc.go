// Package tracing sends recoveries to a collector of OpenTelemetry traces: a trace
// for each recovery, a span for each run of it and one for each step. It goes by the
// journal, so that what it sends is what `healer recovery show` tells, and by the
// environment variables that OpenTelemetry's specification names.
//
// It promises never to hold up a recovery, nor the end of the agent for long: what a
// collector does not take in time is dropped, and the log says so.
package tracing
