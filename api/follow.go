package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"healer/events"
)

// maxEvent bounds a line of a stream: an event has 64 KiB at most.
const maxEvent = 1 << 20

// FollowEvents has the agent at addr, a host:port, tell of the events since from, and then
// of each as it happens. connected is called once the agent has agreed, take for every
// event, in the order in which they come; one may come twice. It returns when ctx ends or
// the stream does, always with the reason.
func FollowEvents(ctx context.Context, client *http.Client, addr string, from time.Time, connected func(), take func(events.Event)) error {
	at := "http://" + addr + "/v1/events?from=" + url.QueryEscape(from.UTC().Format(time.RFC3339))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(res.Body, maxRequest))
		return errors.Join(refusal(addr, res.Status, said), res.Body.Close())
	}
	connected()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		data, is := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !is {
			continue // a comment, or what the data says too
		}
		e, err := events.Decode(data)
		if err != nil {
			return errors.Join(fmt.Errorf("the stream of %s: %w", addr, err), res.Body.Close())
		}
		take(e)
	}
	err = errors.Join(lines.Err(), res.Body.Close())
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the stream of %s broke off: %w", addr, err)
}
