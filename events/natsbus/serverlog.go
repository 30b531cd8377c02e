package natsbus

import (
	"context"
	"fmt"
	"log/slog"
)

// serverLog hands the NATS server's log lines to slog.
type serverLog struct {
	log *slog.Logger
	// fatal has the first line that the server meant to end the process
	// with. The process is the agent's, so it must not.
	fatal chan string
	// heed gets what is an error to NATS, whether it is logged or not.
	heed func(format string, v []any)
}

func newServerLog(log *slog.Logger, heed func(string, []any)) *serverLog {
	return &serverLog{log: orDiscard(log).With("component", "nats-server"), fatal: make(chan string, 1), heed: heed}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, fmt.Sprintf(format, v...))
	}
}

// Noticef is what NATS says of its ordinary life, dozens of lines at a start:
// to the agent's log that is debugging.
func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

// Warnf is a warning to the agent, too.
func (l *serverLog) Warnf(format string, v ...any) { l.line(slog.LevelWarn, format, v) }

// Errorf is a warning to the agent, which goes on without NATS: a peer that is
// not up yet is an error to NATS.
func (l *serverLog) Errorf(format string, v ...any) {
	l.heed(format, v)
	l.line(slog.LevelWarn, format, v)
}

// Debugf and Tracef are off unless a server is asked for them.
func (l *serverLog) Debugf(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

// Fatalf keeps the line for StartServer.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.line(slog.LevelError, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
