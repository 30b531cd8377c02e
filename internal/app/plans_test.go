package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"healer/api"
	"healer/events"
)

// page reads a page of an agent; one of an API that an operator's program reads.
func (c *cluster) page(agent, path string, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.api(agent)+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	err = json.NewDecoder(res.Body).Decode(out)
	return errors.Join(err, res.Body.Close())
}

// past reads an agent's stream of events from its start to the first of a kind.
func (c *cluster) past(agent string, kind events.Kind) (events.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.api(agent)+"/v1/events?from=all&kinds="+string(kind), http.NoBody)
	if err != nil {
		return events.Event{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return events.Event{}, err
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return events.Decode([]byte(data))
		}
	}
	return events.Event{}, fmt.Errorf("the stream of %s ends: %w", agent, lines.Err())
}

// foreseen asks what would be done about n1, which is lost and paused and of which n3
// lacks something, and what would be if n2 were lost too.
func (c *cluster) foreseen() {
	c.t.Helper()
	var now, then api.Plans
	if err := errors.Join(c.page("n3", "/v1/plan", &now), c.page("n3", "/v1/plan?failed=n2", &then)); err != nil {
		c.t.Fatal(err)
	}
	if len(now.Plans) != 1 || now.Plans[0].Refusal == nil || now.Plans[0].Refusal.Reason != "paused" {
		c.t.Fatalf("plans %+v", now.Plans)
	}
	p := now.Plans[0]
	if p.Node != "n1" || p.Source != "n2" || len(p.Lanes) != 1 || p.Lanes[0].Target != "n3" || p.Lanes[0].From >= p.Lanes[0].To || len(p.Steps) == 0 {
		c.t.Errorf("plan %+v", p)
	}
	if len(then.Plans) != 1 || then.Plans[0].Node != "n2" || slices.Contains(then.Plans[0].Survivors, "n2") {
		c.t.Errorf("plans %+v", then.Plans)
	}
	var no api.Problem
	if err := c.page("n3", "/v1/plan?failed=n9", &no); err != nil || no.Code != "node_unknown" {
		c.t.Errorf("n9: %+v, %v", no, err)
	}
	if e, err := c.past("n3", events.NodeFailed); err != nil || e.Subject != "n1" {
		c.t.Errorf("the stream has %+v of %s, %v", e.Kind(), e.Subject, err)
	}
}
