package config

import (
	"regexp"
	"strconv"
	"strings"
)

// All hiding works on the text and not on the parsed values, because a file that
// does not parse has secrets too.

// knownLine matches a line that begins a field of this file other than a DSN.
// What stands behind any other key may be a secret: somebody wrote `password:`.
const knownLine = `^\s*(?:-\s+)?\{?\s*["']?(?:cluster|engine|mode|nodes|name|gossip|api|nats|client|url|` +
	`hooks|on|timeout|user|tls|(?:client_)?(?:ca|cert)_file|detection|recovery|keeper|slots|quorum|conflicts|interval|warn_bytes|\w+_(?:interval|timeout|after|ttl|grace))["']?\s*:(?:\s|$)`

// anyKey matches a line that begins with something like a key.
const anyKey = `^\s*(?:-\s+)?\{?\s*["']?[\w.<-]{1,40}["']?\s*:(?:\s|$)`

// secrets finds what a line must not show: all behind dsn, for a quote that
// seems to end it may be a slip, and what looks like a password.
func secrets() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`dsn\w*["']?\s*:\s*(\S.*)`),
		regexp.MustCompile(`://([^@\s]*)@`),
		// Where the name of a file belongs and something else stands, it may be what
		// belongs into the file. The path of a web hook's URL is often a secret.
		regexp.MustCompile(`(?:(?:creds|nkey|token|password|secret|key)_file|keys)["']?\s*:\s*(["']?[^/\s"',}][^,}]*)`),
		regexp.MustCompile(`webhook["']?\s*:\s*([^\s,}]+)`),
		regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'?|[^\s"]*)`),
	}
}

// hide replaces the secrets of a text by stars, one for one, so that columns
// still point where they did.
func hide(text string) string {
	for _, re := range secrets() {
		var b strings.Builder
		last := 0
		for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
			b.WriteString(text[last:m[2]])
			b.WriteString(stars(text[m[2]:m[3]]))
			last = m[3]
		}
		b.WriteString(text[last:])
		text = b.String()
	}
	return text
}

// hideLine is a line of the file, counted from 0, as it may be shown. Of a key
// that is not known it shows the key alone, of a line that may continue a
// secret nothing.
func hideLine(lines []string, i int) string {
	known, key := regexp.MustCompile(knownLine), regexp.MustCompile(anyKey)
	line := lines[i]
	if known.MatchString(line) {
		return hide(line)
	}
	if k := key.FindString(line); k != "" {
		return k + stars(line[len(k):])
	}
	if strings.ContainsAny(line, `=:@"'`) {
		return stars(line)
	}
	for j := i - 1; j >= 0; j-- {
		if known.MatchString(lines[j]) {
			return hide(line)
		}
		if strings.Contains(lines[j], ":") {
			return stars(line)
		}
	}
	return hide(line)
}

// show quotes a value for a message: one line of it, of a bearable length.
func show(s string) string {
	s, rest, _ := strings.Cut(strings.TrimSpace(hide(s)), "\n")
	if r := []rune(s); len(r) > 60 {
		s, rest = string(r[:60]), "more"
	}
	if rest != "" {
		return strconv.Quote(s) + "..."
	}
	return strconv.Quote(s)
}

// hideKey is a key as it may be shown: what does not look like one may be a
// part of something else.
func hideKey(name string) string {
	if regexp.MustCompile(`^[\w.<-]{1,40}$`).MatchString(name) {
		return name
	}
	return stars(name)
}

// stars keeps the blanks, so that the shape of the line stays.
func stars(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' {
			return r
		}
		return '*'
	}, s)
}
