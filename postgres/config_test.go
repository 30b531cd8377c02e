package postgres

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOpenRejects(t *testing.T) {
	for dsn, want := range map[string]string{ //nolint:gosec // no secret: what must not be shown
		"host=h port=abc dbname=app password=hunter2":                "port",
		"host=h dbname=app sslmode=hunter2":                          "sslmode",
		"host=h user=u password=hunter2":                             "names no database",
		"postgres://u:hunter2@h:99999999/app":                        "port",
		"postgres://u:hunter2/x@h/app":                               "",
		"password='hunter2 host=h dbname=app":                        "",
		"host=h dbname=app password=hunter2 sslrootcert=/no/hunter2": "",
		"host=h dbname=app hunter2":                                  "",
	} {
		s, err := Open("n7", dsn)
		if err == nil {
			s.Close()
			t.Errorf("%q: no error", dsn)
			continue
		}
		if msg := err.Error(); strings.Contains(msg, "hunter2") || !strings.Contains(msg, "n7") || !strings.Contains(msg, want) {
			t.Errorf("%q: error %q: want %q, the node, and no password", dsn, msg, want)
		}
	}
}

// However a DSN is broken, its password is in no error.
func TestNoErrorShowsThePassword(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`Q[A-Z0-9]{5,9}Q`).Draw(t, "secret")
		form := rapid.SampledFrom([]string{
			"host=h dbname=app password=%s", "postgres://u:%s@h:5432/app", "password='%s' host=h dbname=app",
			"postgres://h/app?password=%s&user=u", "dbname=app sslmode=%s", "port=%s dbname=app",
		}).Draw(t, "form")
		dsn := []byte(strings.ReplaceAll(form, "%s", secret))
		for range rapid.IntRange(0, 4).Draw(t, "faults") {
			at := rapid.IntRange(0, len(dsn)-1).Draw(t, "at")
			if i := strings.Index(string(dsn), secret); i >= 0 && at >= i && at < i+len(secret) {
				continue
			}
			dsn[at] = rapid.SampledFrom([]byte(`'\=:/@?%& `)).Draw(t, "char")
		}
		s, err := Open("n1", string(dsn))
		if err == nil {
			s.Close()
			return
		}
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("%q: error %q", dsn, err)
		}
	})
}

func TestSettingsOfTheDSNWin(t *testing.T) {
	cfg, err := parse("host=h dbname=app statement_timeout=7 keepalives=1 connect_timeout=9")
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.ConnConfig.RuntimeParams
	if p["statement_timeout"] != "7" || p["application_name"] != "healer" {
		t.Errorf("settings are %v", p)
	}
	if _, ok := p["keepalives"]; ok {
		t.Error("keepalives is libpq's: a server refuses it")
	}
	if got := cfg.ConnConfig.ConnectTimeout.Seconds(); got != 9 {
		t.Errorf("connect_timeout is %v s", got)
	}
}

func TestParseEndpoint(t *testing.T) {
	a, err := ParseEndpoint("host=10.0.0.1 port=5433 dbname=app user=x password=y")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseEndpoint("postgres://z@10.0.0.1:5433/app")
	if err != nil {
		t.Fatal(err)
	}
	if a != b || a.String() != "10.0.0.1:5433/app" {
		t.Errorf("%v and %v", a, b)
	}
	if _, err := ParseEndpoint("port=hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
