package config

import (
	"net/url"
	"path/filepath"
	"strings"
)

// nats reads where events go, and how to log in there.
func (v value) nats(n *NATS) {
	v.mapping([]field{
		{name: "url", read: natsURL(&n.URL)},
		{name: "creds_file", read: secretPath(&n.CredsFile)},
		{name: "nkey_file", read: secretPath(&n.NKeyFile)},
		{name: "token_file", read: secretPath(&n.TokenFile)},
		{name: "reader_token_file", read: secretPath(&n.ReaderTokenFile)},
		{name: "user", read: func(v value) { n.User, _ = v.word() }},
		{name: "password_file", read: secretPath(&n.PasswordFile)},
		{name: "tls", read: func(v value) {
			v.mapping([]field{
				{name: "ca_file", read: path(&n.TLS.CAFile)},
				{name: "cert_file", read: path(&n.TLS.CertFile)},
				{name: "key_file", read: secretPath(&n.TLS.KeyFile)},
			})
		}},
	})
}

// checkAccess wants one way to log in, whole, that the kind of NATS knows.
func (r *reader) checkAccess(n NATS) {
	given := func(names ...string) (out []string) {
		for _, name := range names {
			if _, ok := r.at["nats."+name]; ok {
				out = append(out, name)
			}
		}
		return out
	}
	if ways := given("creds_file", "nkey_file", "token_file", "user"); len(ways) > 1 {
		r.problem("nats."+ways[1], "stands beside "+ways[0], "keep one way to log in")
	}
	r.together("nats", "user", "password_file")
	r.together("nats.tls", "cert_file", "key_file")
	if n.URL != "" {
		for _, name := range given("reader_token_file") {
			r.problem("nats."+name, "is for the embedded NATS", "remove it; an external one has users of its own")
		}
		return
	}
	for _, name := range given("creds_file", "nkey_file", "user") {
		r.problem("nats."+name, "is for an external NATS", "set nats.url, or remove it; the embedded one knows token_file and reader_token_file")
	}
	if len(given("reader_token_file")) > 0 && n.TokenFile == "" {
		r.problem("nats.reader_token_file", "stands without token_file", "add token_file: without it everybody may write")
	}
	if len(given("tls")) == 0 {
		return
	}
	for _, name := range []string{"ca_file", "cert_file", "key_file"} {
		if len(given("tls."+name)) == 0 {
			r.report(r.at["nats.tls"], "nats.tls."+name, "is missing",
				"name it: the embedded servers know each other by certificates; whoever only reads reaches them by nats.url")
		}
	}
}

// secretPath reads the name of a file with a secret in it. What stands there may be
// the secret itself, and is not shown.
func secretPath(dst *string) func(value) {
	return func(v value) {
		s, ok := v.word()
		switch {
		case !ok || s == "":
		case !filepath.IsAbs(s):
			v.bad("is not the absolute path of a file",
				"write the secret into a file that only the agent's user can read, and its name here, from the root on")
		default:
			*dst = s
		}
	}
}

func natsURL(dst *string) func(value) {
	const form = "write a URL such as nats://10.0.0.9:4222, several with commas between them, or leave it empty for the embedded server"
	return func(v value) {
		s, ok := v.word()
		if !ok || s == "" {
			return
		}
		for one := range strings.SplitSeq(s, ",") {
			u, err := url.Parse(one)
			switch {
			case err != nil || u.Host == "":
				v.bad(show(one)+" is not a URL", form)
			case u.Scheme != "nats" && u.Scheme != "tls":
				v.bad(show(one)+" has the scheme \""+u.Scheme+"\"", form)
			case u.User != nil:
				v.bad(show(one)+" has a user, a password or a token in it", "leave it out, and use nats.user with nats.password_file, or nats.token_file")
			}
		}
		*dst = s
	}
}
