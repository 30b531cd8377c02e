package natsbus

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// plainNATS starts a server as an operator might run it, without JetStream.
func plainNATS(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	check(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("plain NATS server does not start")
	}
	return s.ClientURL()
}
