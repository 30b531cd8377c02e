package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// counted waits until an agent of those that live exposes all of these lines.
func (c *cluster) counted(agents []string, lines ...string) {
	c.t.Helper()
	c.eventually("an agent has counted what it did", func() error {
		said := ""
		for _, n := range agents {
			page, err := c.metrics(n)
			if err != nil {
				return err
			}
			missing := ""
			for _, line := range lines {
				if !strings.Contains(page, "\n"+line+"\n") {
					missing += "\n" + line
				}
			}
			if missing == "" {
				return nil
			}
			said += "\n" + n + " lacks" + missing
		}
		return fmt.Errorf("%s", said)
	})
}

// behind waits until an agent says of each of these nodes whether it has been behind the
// origin for some time.
func (c *cluster) behind(agent, origin string, is map[string]bool) {
	c.t.Helper()
	c.eventually("an agent knows who is behind "+origin, func() error {
		page, err := c.metrics(agent)
		if err != nil {
			return err
		}
		for node, want := range is {
			head := fmt.Sprintf("\nhealer_origin_lag_seconds{node=%q,origin=%q} ", node, origin)
			_, rest, told := strings.Cut(page, head)
			value, _, _ := strings.Cut(rest, "\n")
			lag, err := strconv.ParseFloat(value, 64)
			if !told || err != nil || want != (lag >= 1) {
				return fmt.Errorf("%s is behind %s for %q seconds, %w", node, origin, value, err)
			}
		}
		return nil
	})
}

func (c *cluster) metrics(agent string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+c.api(agent)+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	return string(page), err
}
