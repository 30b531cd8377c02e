package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"healer/topology"
)

// maxPage bounds what is read of an agent: far above what the largest mesh, or the
// runs of one recovery with a thousand conflicts each, need.
const maxPage = 32 << 20

// FetchStatus asks the agent at addr, a host:port, for its status. Bound it by
// ctx. NewClient makes clients.
func FetchStatus(ctx context.Context, client *http.Client, addr string) (Status, error) {
	var s Status
	err := fetch(ctx, client, addr, "/v1/status", []int{http.StatusOK}, &s, func() bool { return s.Cluster != "" })
	return s, err
}

// PostMaintenance tells the agent at addr of a maintenance. A no of the agent is a
// *topology.Fault with its code and hint.
func PostMaintenance(ctx context.Context, client *http.Client, addr, token string, r MaintenanceRequest) (Controlled, error) {
	var c Controlled
	err := post(ctx, client, addr, "/v1/control/maintenance", token, r, &c)
	return c, err
}

// PostSteer tells the agent at addr what to do about recoveries. A no of the agent
// is a *topology.Fault with its code and hint.
func PostSteer(ctx context.Context, client *http.Client, addr, token string, verb Verb, r SteerRequest) (Controlled, error) {
	var c Controlled
	err := post(ctx, client, addr, "/v1/control/"+string(verb), token, r, &c)
	return c, err
}

// post sends in as JSON and reads the answer into out.
func post(ctx context.Context, client *http.Client, addr, path, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxPage+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	if res.StatusCode != http.StatusOK {
		return refusal(addr, res.Status, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s does not answer %s as an agent does: is it the API of a healer agent?", addr, path)
	}
	return nil
}

// refusal is the no of an agent.
func refusal(addr, status string, answer []byte) error {
	var p Problem
	if json.Unmarshal(answer, &p) != nil || p.Error == "" {
		return fmt.Errorf("%s answered %s: is it the API of a healer agent?", addr, status)
	}
	return &topology.Fault{Class: topology.Permanent, Code: p.Code, Hint: p.Hint, Err: errors.New(p.Error)}
}

// fetch reads a page of an agent into out. is reports whether what was read is what
// an agent would say.
func fetch(ctx context.Context, client *http.Client, addr, path string, codes []int, out any, is func() bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxPage+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	if !slices.Contains(codes, res.StatusCode) {
		return fmt.Errorf("%s answered %s: is it the API of a healer agent?", addr, res.Status)
	}
	if len(body) > maxPage {
		return fmt.Errorf("the answer of %s is larger than %d bytes", addr, maxPage)
	}
	if err := json.Unmarshal(body, out); err != nil || !is() {
		return fmt.Errorf("%s does not answer %s as an agent does: is it the API of a healer agent?", addr, path)
	}
	return nil
}
