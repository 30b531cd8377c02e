package discover

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// params are the words of a connection string, in their order, each keyword once.
type params []param

type param struct{ key, value string }

// parseDSN reads a connection string as libpq does: a URL, or keywords and values. Its
// errors never quote the string.
func parseDSN(dsn string) (params, error) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(dsn, scheme); ok {
			return parseURL(rest)
		}
	}
	return parseWords(dsn)
}

func parseURL(s string) (p params, err error) {
	s, query, _ := strings.Cut(s, "?")
	s, database, _ := strings.Cut(s, "/")
	at := strings.LastIndex(s, "@")
	user, password, _ := strings.Cut(s[:max(at, 0)], ":")
	var hosts, ports []string
	for _, h := range strings.Split(s[at+1:], ",") {
		host, port := h, ""
		if i := strings.LastIndex(h, ":"); i > strings.LastIndex(h, "]") {
			host, port = h[:i], h[i+1:]
		}
		hosts, ports = append(hosts, strings.Trim(host, "[]")), append(ports, port)
	}
	if strings.Join(ports, "") == "" {
		ports = nil
	}
	for _, w := range []param{
		{"user", user},
		{"password", password},
		{"host", strings.Join(hosts, ",")},
		{"port", strings.Join(ports, ",")},
		{"dbname", database},
	} {
		p = p.add(w, &err)
	}
	for _, word := range strings.Split(query, "&") {
		if k, v, ok := strings.Cut(word, "="); ok {
			p = p.add(param{k, v}, &err)
		}
	}
	return p, err
}

// add sets a word of a URL, its escapes resolved.
func (p params) add(w param, err *error) params {
	v, bad := url.PathUnescape(w.value)
	if bad != nil {
		*err = errors.New("an escape (%) in it is not two hexadecimal digits")
	}
	if v == "" {
		return p
	}
	return p.with(w.key, v)
}

func parseWords(s string) (p params, err error) {
	const space = " \t\r\n\v\f"
	for {
		if s = strings.TrimLeft(s, space); s == "" {
			return p, nil
		}
		key, rest, ok := strings.Cut(s, "=")
		if key = strings.TrimRight(key, space); !ok || key == "" || strings.ContainsAny(key, space+`'\`) {
			return nil, errors.New("it is neither a URL nor a list of keyword=value pairs")
		}
		var value string
		if value, s, ok = cutValue(strings.TrimLeft(rest, space), space); !ok {
			return nil, errors.New("a quote in it is not closed")
		}
		p = p.with(key, value)
	}
}

// cutValue takes a value from the beginning of s: to the next space, or in quotes.
func cutValue(s, space string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), s[i+1:], true
		case !quoted && strings.IndexByte(space, c) >= 0:
			return b.String(), s[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}

// get is the value of a keyword, "" where it is not given.
func (p params) get(key string) string {
	for _, w := range p {
		if w.key == key {
			return w.value
		}
	}
	return ""
}

// with is p with the keyword at that value; without it when the value is empty.
func (p params) with(key, value string) params {
	i := slices.IndexFunc(p, func(w param) bool { return w.key == key })
	switch {
	case value == "":
		return p.without(key)
	case i < 0:
		return append(slices.Clone(p), param{key, value})
	}
	p = slices.Clone(p)
	p[i].value = value
	return p
}

func (p params) without(keys ...string) params {
	return slices.DeleteFunc(slices.Clone(p), func(w param) bool { return slices.Contains(keys, w.key) })
}

// named is p with the database to which it led. A service has its own.
func (p params) named(database string) params {
	if p.get("service") != "" {
		return p
	}
	return p.with("dbname", database)
}

// secrets are the keywords whose values nobody may read.
func secrets() []string {
	return []string{"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
}

// String is the connection string as words, those first that say where it leads.
func (p params) String() string {
	first := []string{"service", "host", "port", "dbname", "user"}
	words := make([]string, 0, len(p))
	for _, k := range first {
		if v := p.get(k); v != "" {
			words = append(words, k+"="+quoteValue(v))
		}
	}
	for _, w := range p {
		if !slices.Contains(first, w.key) {
			words = append(words, w.key+"="+quoteValue(w.value))
		}
	}
	return strings.Join(words, " ")
}

func quoteValue(v string) string {
	if v != "" && !strings.ContainsAny(v, " \t\r\n\v\f'\\") {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// fromEnviron adds what libpq would take from the environment, but no password: the
// agents have another environment than the operator's.
func (p params) fromEnviron(environ []string) params {
	for _, w := range []param{
		{"service", "PGSERVICE"},
		{"servicefile", "PGSERVICEFILE"},
		{"host", "PGHOST"},
		{"port", "PGPORT"},
		{"dbname", "PGDATABASE"},
		{"user", "PGUSER"},
		{"passfile", "PGPASSFILE"},
		{"sslmode", "PGSSLMODE"},
		{"sslrootcert", "PGSSLROOTCERT"},
		{"sslcert", "PGSSLCERT"},
		{"sslkey", "PGSSLKEY"},
	} {
		if p.get(w.key) == "" {
			p = p.with(w.key, variable(environ, w.value))
		}
	}
	return p
}

func variable(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// local reports whether a host is reached only from the machine itself: loopback, the
// directory of a socket, or none.
func local(host string) bool {
	if host == "" || host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// peer is how this operator reaches the server that a subscription reads from: where
// the subscription does, as the role that was given. from is the host on which the
// subscription is; what is local to it is there.
func (p params) peer(sub params, from string) params {
	out := p.without("service", "servicefile", "host", "hostaddr", "port", "dbname")
	host := sub.get("host")
	if host == "" {
		host = sub.get("hostaddr")
	}
	if sub.get("service") != "" && host == "" {
		out = out.with("service", sub.get("service"))
	} else if local(host) && !local(from) {
		host = from
	}
	out = out.with("host", host).with("port", sub.get("port")).with("dbname", sub.get("dbname"))
	if !slices.ContainsFunc(p, func(w param) bool { return strings.HasPrefix(w.key, "ssl") }) {
		for _, k := range []string{"sslmode", "sslrootcert"} {
			out = out.with(k, sub.get(k))
		}
	}
	return out
}

// agentHost is the host of an agent that runs beside the server.
func agentHost(serverHost string) string {
	if local(serverHost) {
		return "127.0.0.1"
	}
	return serverHost
}

func join(host, port string) string { return net.JoinHostPort(host, port) }
