package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"healer/events"
	"healer/internal/secretfile"
)

// minSecret is how long a secret has to be, in bytes: as Standard Webhooks has it.
const minSecret = 24

// webhook is a hook that posts to a URL, signed as
// https://www.standardwebhooks.com says.
type webhook struct {
	url, secrets string
	client       *http.Client
	now          func() time.Time
}

func newWebhook(url, secrets string) (*webhook, error) {
	if _, err := readSecrets(secrets); err != nil {
		return nil, err
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	return &webhook{url: url, secrets: secrets, now: time.Now, client: &http.Client{
		Transport: t,
		// The body is signed for one receiver, and a redirect is somebody's mistake.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// run posts the event. The receiver has taken it when it answers 2xx.
func (w *webhook) run(ctx context.Context, e events.Event, _ int) error {
	body, err := e.Encode()
	if err != nil {
		return err
	}
	keys, err := readSecrets(w.secrets) // anew each time, so that they may be replaced
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return unnamed(err)
	}
	at := strconv.FormatInt(w.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", "healer")
	req.Header.Set("Webhook-Id", e.ID)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", signatures(keys, e.ID, at, body))
	res, err := w.client.Do(req)
	if err != nil {
		return unnamed(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxSaid)) // what there is of it helps
	return fmt.Errorf("the receiver answers %s: %s", res.Status, brief(said))
}

// unnamed takes the URL out of an error: its path may be a secret.
func unnamed(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// signatures are those of all keys, so that the receiver may know either of two
// while one takes the place of the other.
func signatures(keys [][]byte, id, at string, body []byte) string {
	var all []string
	for _, k := range keys {
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(id + "." + at + "."))
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// readSecrets reads a file of secrets, one a line; one that begins with whsec_ is
// base64.
func readSecrets(path string) ([][]byte, error) {
	text, err := secretfile.Read(path)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key := []byte(line)
		if b64, found := strings.CutPrefix(line, "whsec_"); found {
			if key, err = base64.StdEncoding.DecodeString(b64); err != nil {
				return nil, fmt.Errorf("%s: line %d is not base64 behind whsec_", path, i+1)
			}
		}
		if len(key) < minSecret {
			return nil, fmt.Errorf("%s: the secret in line %d has %d bytes: use %d at least, such as by `openssl rand -hex 32`", path, i+1, len(key), minSecret)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no secret", path)
	}
	return keys, nil
}
