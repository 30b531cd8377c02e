package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// FetchHealth asks the agent at addr, a host:port, whether it serves, or with ready
// whether it has observed the mesh and reads its own node. What it says is returned with
// an error, too.
func FetchHealth(ctx context.Context, client *http.Client, addr string, ready bool) (said string, err error) {
	path := "/livez"
	if ready {
		path = "/readyz?verbose"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRequest))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return "", fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	said = strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return said, fmt.Errorf("%s answered %s", addr, res.Status)
	}
	return said, nil
}
