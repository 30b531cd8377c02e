package discover

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// TestParseDSN compares with what PostgreSQL's documentation of connection strings has.
func TestParseDSN(t *testing.T) {
	for in, want := range map[string]string{
		`host=a port=5431 dbname=app user=u`:                         `host=a port=5431 dbname=app user=u`,
		` user = 'it\'s' host=a  password='a b\\c' `:                 `host=a user='it\'s' password='a b\\c'`,
		`host=a\ b dbname=''`:                                        `host='a b'`,
		`host=a host=b`:                                              `host=b`,
		`postgres://u:p%40ss@h:6432/app?sslmode=require`:             `host=h port=6432 dbname=app user=u password=p@ss sslmode=require`,
		`postgresql://h1:1,h2:2/app?target_session_attrs=read-write`: `host=h1,h2 port=1,2 dbname=app target_session_attrs=read-write`,
		`postgres://u@[::1]:5432/app`:                                `host=::1 port=5432 dbname=app user=u`,
		`postgresql:///app?host=/run/pg`:                             `host=/run/pg dbname=app`,
		`postgresql://`:                                              ``,
		``:                                                           ``,
	} {
		got, err := parseDSN(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`host`, `host=a b`, `password='s3cret`, `=x`, `postgres://u:s3%cret@h/app`, `ho'st=a`} {
		if p, err := parseDSN(in); err == nil || strings.Contains(err.Error(), "s3") {
			t.Errorf("%s: %q, %v", in, p, err)
		}
	}
}

// TestWordsAsTheDriver writes any values and has the driver read them.
func TestWordsAsTheDriver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zA-Z0-9 '\\=@:/.-]{1,12}`)
		p := params{{"host", "h"}}.with("user", text.Draw(t, "user")).with("password", text.Draw(t, "password")).with("dbname", text.Draw(t, "dbname"))
		cfg, err := pgconn.ParseConfig(p.String())
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if cfg.User != p.get("user") || cfg.Password != p.get("password") || cfg.Database != p.get("dbname") {
			t.Fatalf("%s is read as user %q password %q dbname %q", p, cfg.User, cfg.Password, cfg.Database)
		}
		again, err := parseDSN(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%s is read back as %s (%v)", p, again, err)
		}
	})
}

func TestPeer(t *testing.T) {
	const given = "host=n1 dbname=app user=healer passfile=/p password=s3cret"
	for _, c := range []struct{ given, sub, from, want string }{
		{given, "host=n2 port=6432 dbname=app user=repl password=x", "n1", "host=n2 port=6432 dbname=app user=healer passfile=/p password=s3cret"},
		{given, "host=localhost port=6432 dbname=app", "n1", "host=n1 port=6432 dbname=app user=healer passfile=/p password=s3cret"},
		{given, "host=/run/pg dbname=app", "n1", "host=n1 dbname=app user=healer passfile=/p password=s3cret"},
		{"host=127.0.0.1 user=h", "host=127.0.0.1 port=2 dbname=app", "127.0.0.1", "host=127.0.0.1 port=2 dbname=app user=h"},
		{given, "hostaddr=10.0.0.2 dbname=app sslmode=verify-full sslrootcert=/ca sslcert=/c", "n1", "host=10.0.0.2 dbname=app user=healer passfile=/p password=s3cret sslmode=verify-full sslrootcert=/ca"},
		{given + " sslmode=require", "host=n2 dbname=app sslmode=disable", "n1", "host=n2 dbname=app user=healer passfile=/p password=s3cret sslmode=require"},
		{"service=mesh user=h", "host=n2 dbname=app", "n1", "host=n2 dbname=app user=h"},
		{given, "service=other", "n1", "service=other user=healer passfile=/p password=s3cret"},
	} {
		g, err := parseDSN(c.given)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := parseDSN(c.sub)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, g.peer(sub, c.from).String()); diff != "" {
			t.Errorf("%s by way of %s on %s:\n%s", c.given, c.sub, c.from, diff)
		}
	}
}

func TestEnvironment(t *testing.T) {
	p := params{{"host", "a"}}.fromEnviron([]string{"PGHOST=b", "PGPORT=6432", "PGPASSFILE=/p", "PGPASSWORD=s3cret", "PGSERVICE="})
	if got := p.String(); got != "host=a port=6432 passfile=/p" {
		t.Error(got)
	}
}
