package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// newLogger gives memberlist a log of its own kind that ends in ours.
func newLogger(l *slog.Logger) *log.Logger {
	return log.New(slogWriter{l.With("component", "memberlist")}, "", 0)
}

// slogWriter turns memberlist's lines, "[WARN] memberlist: ...", into records.
type slogWriter struct{ log *slog.Logger }

// Write implements io.Writer; log.Logger calls it once for each line.
func (w slogWriter) Write(line []byte) (int, error) {
	level, text := parseLine(bytes.TrimSpace(line))
	w.log.Log(context.Background(), level, text)
	return len(line), nil
}

// parseLine splits a line into its level and its text. memberlist's errors are
// warnings here: a peer that does not answer is what it is made for, and the
// verdict tells of it.
func parseLine(line []byte) (slog.Level, string) {
	for _, m := range []struct {
		prefix string
		level  slog.Level
	}{
		{"[DEBUG]", slog.LevelDebug},
		{"[INFO]", slog.LevelDebug},
		{"[WARN]", slog.LevelInfo},
		{"[ERR]", slog.LevelWarn},
	} {
		if rest, ok := bytes.CutPrefix(line, []byte(m.prefix)); ok {
			return m.level, string(bytes.TrimPrefix(bytes.TrimSpace(rest), []byte("memberlist: ")))
		}
	}
	return slog.LevelInfo, string(line)
}
