package config

import (
	"net/url"
	"path/filepath"
	"time"

	"healer/events"
)

// defaultHookTimeout bounds one run of a hook.
const defaultHookTimeout = 10 * time.Second

// hooks reads what is run when something happens. An item that says nothing keeps
// its place.
func (v value) hooks() []Hook {
	var all []Hook
	v.list(func(i int, item value) {
		all = append(all, make([]Hook, i+1-len(all))...)
		all[i] = item.hook()
	})
	return all
}

func (v value) hook() Hook {
	h := Hook{Timeout: defaultHookTimeout}
	v.mapping([]field{
		{name: "on", need: "say which events run it, such as \"recovery.*\"", read: kinds(&h.On)},
		{name: "exec", read: argv(&h.Exec)},
		{name: "webhook", read: receiver(&h.Webhook)},
		{name: "secret_file", read: secretPath(&h.SecretFile)},
		{name: "timeout", read: duration(&h.Timeout, 100*time.Millisecond, 10*time.Minute)},
	})
	given := func(name string) bool { _, ok := v.r.at[v.path+"."+name]; return ok }
	switch {
	case given("exec") && given("webhook"):
		v.r.problem(v.path+".webhook", "stands beside exec", "make two hooks of it")
	case !given("exec") && !given("webhook"):
		v.r.report(v.r.at[v.path], v.path, "runs nothing", "add `exec: [/usr/local/bin/page]`, or `webhook: https://...` with `secret_file`")
	case given("webhook") && !given("secret_file"):
		v.r.report(v.r.at[v.path], v.path+".secret_file", "is missing",
			"name a file with a secret that the receiver knows too, such as /etc/healer/webhook.secret: bodies are signed with it")
	case given("exec") && given("secret_file"):
		v.r.problem(v.path+".secret_file", "is for a webhook", "remove it")
	}
	return h
}

// kinds reads a pattern of kinds of events.
func kinds(dst *string) func(value) {
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		*dst = s
		if s == "" {
			v.bad("is empty", "write a kind or a pattern, such as \"recovery.*\", \"node.failed\" or \">\" for all")
			return
		}
		if err := (events.Filter{Kinds: s}).Check(); err != nil {
			v.bad(err.Error(), "write a kind or a pattern, such as \"recovery.*\", \"node.failed\" or \">\" for all; docs/events.md has the kinds")
		}
	}
}

// argv reads a program and its arguments.
func argv(dst *[]string) func(value) {
	return func(v value) {
		n, ok := v.list(func(_ int, item value) {
			if s, ok := item.word(); ok {
				*dst = append(*dst, s)
			}
		})
		switch {
		case !ok:
		case n == 0:
			v.bad("names no program", "write its absolute path first, such as [/usr/local/bin/page, --team, db]")
		case len(*dst) == n && !filepath.IsAbs((*dst)[0]):
			v.bad(show((*dst)[0])+" is not an absolute path", "write it from the root on, such as /usr/local/bin/page; there is no shell")
		}
	}
}

// receiver reads the URL of a web hook. Its path may be a secret and is not shown.
func receiver(dst *string) func(value) {
	const form = "write a URL such as https://alerts.example.com/healer"
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "":
			v.bad("is not a URL", form)
		case u.Scheme != "https" && u.Scheme != "http":
			v.bad("has the scheme "+show(u.Scheme), form)
		case u.User != nil:
			v.bad("has a user or a password in it", "leave it out: the receiver knows Healer by the signature")
		default:
			*dst = s
		}
	}
}
