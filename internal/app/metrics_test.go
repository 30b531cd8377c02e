package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
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
