package events_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/natsbus"
)

// listen tells of n verified recoveries of a cluster. When it is called again it
// goes on behind the last one that it told of.
func listen(ctx context.Context, url, cluster string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// NATS remembers under this name how far the reader is.
	reader, err := js.CreateOrUpdateConsumer(ctx, events.Stream(cluster), jetstream.ConsumerConfig{
		Durable: "reports", AckPolicy: jetstream.AckExplicitPolicy,
		FilterSubject: events.Subject(cluster, events.RecoveryVerified),
	})
	if err != nil {
		return err
	}
	messages, err := reader.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range n {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		e, err := events.Decode(m.Data())
		if err != nil {
			return err
		}
		var v events.Verified
		if err := json.Unmarshal(e.Data, &v); err != nil {
			return err
		}
		fmt.Printf("%s was lost: %d transactions were carried across\n", e.Subject, v.TransactionsRecovered)
		if err := m.Ack(); err != nil {
			return err
		}
	}
	return nil
}

// A reader of events needs NATS' own client, and this package for the types.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := stage(ctx, func(url string) error { return listen(ctx, url, "app", 2) }); err != nil {
		fmt.Println(err)
	}
	// Output:
	// n1 was lost: 600 transactions were carried across
	// n2 was lost: 7 transactions were carried across
}

// stage runs a NATS server as an agent does, with two events in its stream.
func stage(ctx context.Context, run func(url string) error) error {
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := natsbus.StartServer(ctx, natsbus.ServerOptions{Node: "n1", Cluster: "app", Client: "127.0.0.1:0", StoreDir: dir + "/nats"})
	if err != nil {
		return err
	}
	defer func() { _ = server.Shutdown(ctx) }()
	bus, err := natsbus.Connect(ctx, natsbus.Options{
		DialOptions: natsbus.DialOptions{Cluster: "app", InProcess: server}, Agent: "n1", Replicas: 1, Dir: dir + "/outbox",
	})
	if err != nil {
		return err
	}
	for i, n := range []int64{600, 7} {
		node := fmt.Sprintf("n%d", i+1)
		f := events.Fact{Cluster: "app", Kind: events.RecoveryVerified, Node: node}
		e, err := events.New(f, "n1", time.Now(), events.Verified{Node: node, TransactionsRecovered: n})
		if err != nil {
			return err
		}
		if err := bus.Publish(e); err != nil {
			return err
		}
	}
	// Until the stream has taken them.
	if err := bus.Close(ctx); err != nil {
		return err
	}
	return run(server.URL())
}
