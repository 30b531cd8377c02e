package events_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/natsbus"
)

// listen reports n verified recoveries of a cluster in a ledger, each once, whatever comes
// twice. When it is called again it goes on behind the last one that it reported.
func listen(ctx context.Context, url, cluster string, report *ledger, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// NATS remembers under this name how far the reader is: what it has not acknowledged
	// comes again, also to the next process of the name.
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
		if err := report.once(e.ID, fmt.Sprintf("%s was lost: %d transactions were carried across", e.Subject, v.TransactionsRecovered)); err != nil {
			return err
		}
		if err := m.Ack(); err != nil { // only what is done
			return err
		}
	}
	return nil
}

// ledger keeps what was done with the id of the event that it was done for, in one
// write: so the one is there exactly when the other is. In a database it is a table with
// the id as its key, written in the transaction that does the work.
type ledger struct {
	file *os.File
	done map[string]bool
}

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &ledger{file: file, done: map[string]bool{}}
	whole := int64(0)
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadString('\n')
		if err != nil { // the end, or a line that a crash cut off: it is written anew
			_, err = file.Seek(whole, io.SeekStart)
			return l, errors.Join(err, file.Truncate(whole))
		}
		id, _, _ := strings.Cut(line, " ")
		l.done[id], whole = true, whole+int64(len(line))
	}
}

// once does the work of an event, unless it is done.
func (l *ledger) once(id, work string) error {
	if l.done[id] {
		return nil
	}
	if _, err := fmt.Fprintf(l.file, "%s %s\n", id, work); err != nil {
		return err
	}
	l.done[id] = true
	return l.file.Sync()
}

// A reader of events needs NATS' own client, and this package for the types.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := stage(ctx, func(url, dir string) error {
		report, err := openLedger(dir + "/report")
		if err != nil {
			return err
		}
		defer report.file.Close()
		if err := listen(ctx, url, "app", report, 2); err != nil {
			return err
		}
		return show(dir + "/report")
	}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// n1 was lost: 600 transactions were carried across
	// n2 was lost: 7 transactions were carried across
}

// show prints a ledger without its ids.
func show(path string) error {
	raw, err := os.ReadFile(path)
	for line := range strings.Lines(string(raw)) {
		_, work, _ := strings.Cut(line, " ")
		fmt.Print(work)
	}
	return err
}

// stage runs a NATS server as an agent does, with two events in its stream.
func stage(ctx context.Context, run func(url, dir string) error) error {
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
	return run(server.URL(), dir)
}
