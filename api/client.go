package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxStatus bounds a status page: far above what the largest mesh needs.
const maxStatus = 8 << 20

// FetchStatus asks the agent at addr, a host:port, for its status. Bound it by
// ctx.
func FetchStatus(ctx context.Context, client *http.Client, addr string) (Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/status", http.NoBody)
	if err != nil {
		return Status{}, fmt.Errorf("address %q: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return Status{}, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxStatus+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return Status{}, fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	if res.StatusCode != http.StatusOK {
		return Status{}, fmt.Errorf("%s answered %s: is it the API of a healer agent?", addr, res.Status)
	}
	if len(body) > maxStatus {
		return Status{}, fmt.Errorf("the answer of %s is larger than %d bytes", addr, maxStatus)
	}
	var s Status
	if err := json.Unmarshal(body, &s); err != nil || s.Cluster == "" {
		return Status{}, fmt.Errorf("%s answered no status: is it the API of a healer agent?", addr)
	}
	return s, nil
}
