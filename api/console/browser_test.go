//go:build console

package console_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"healer/api"
)

var shots = flag.String("shots", "", "keep a picture of every scene in this folder")

// limit bounds what a page takes to show something; it decides nothing.
const limit = time.Minute

// browser is a real one, for all tests.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil && name != "" {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("no browser: apt-get install chromium, or name one by CHROMIUM")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(limit))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// tab is a page of its own that fails the test for whatever the browser complains of:
// an error of a script, or something that the security policy forbids.
type tab struct {
	t   *testing.T
	ctx context.Context
	// silent is set while the agent is meant to be gone.
	silent bool
}

func open(parent context.Context, t *testing.T, addr string, actions ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(parent)
	t.Cleanup(end)
	p := &tab{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page throws: %s", e.ExceptionDetails.Text+": "+describe(e.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			if !p.silent && e.Entry.Source != log.EntrySourceNetwork {
				t.Errorf("the browser complains: %s: %s", e.Entry.Source, e.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.do(append(actions, chromedp.Navigate("http://"+addr+"/"))...)
	return p
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// got runs what has a result.
func got[T any](p *tab, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// shows waits until the text of what a selector finds has all the words.
func (p *tab) shows(selector string, words ...string) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		text := got(p, chromedp.Evaluate[string](fmt.Sprintf(`[...document.querySelectorAll(%q)].map((n) => n.textContent + ' ' + [...n.querySelectorAll('[aria-label]')].map((l) => l.getAttribute('aria-label')).join(' ')).join(' ')`, selector)))
		missing := ""
		for _, w := range words {
			if !strings.Contains(text, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not show %q but %q", selector, missing, text)
		}
	}
}

// asks presses a button until the page asks: it may just have been drawn anew.
func (p *tab) asks(button string) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for !got(p, chromedp.Evaluate[bool](`document.querySelector('dialog').open`)) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s asks nothing", button)
		}
		p.do(chromedp.Click(button))
	}
}

// fill sets a field.
func (p *tab) fill(selector, value string) {
	p.t.Helper()
	p.truth("it is filled in", fmt.Sprintf(`(document.querySelector(%q).value = %q) !== null`, selector, value))
}

func (p *tab) truth(what, script string) {
	p.t.Helper()
	if !got(p, chromedp.Evaluate[bool](script)) {
		p.t.Errorf("it is not so: %s", what)
	}
}

// serve starts an agent's API with a scene.
func serve(t *testing.T, s *scene, token api.TokenSource) *api.Server {
	t.Helper()
	srv, err := api.New(api.Options{
		Addr: "127.0.0.1:0", Source: s, Recoveries: s, Plans: s, Events: s, Steering: s, Token: token, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = srv.Stop(ctx)
	})
	return srv
}

// TestScenes: every state is shown in words, on a desk and on a phone, by day and by
// night; nothing is wider than the screen, and every text can be read on its ground.
func TestScenes(t *testing.T) {
	parent := browser(t)
	for name, s := range scenes() {
		srv := serve(t, s, nil)
		for _, screen := range []struct {
			name          string
			width, height int64
		}{{"desk", 1440, 900}, {"phone", 390, 844}} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(name+"/"+screen.name+"/"+scheme, func(t *testing.T) {
					p := open(parent, t, srv.Addr(),
						chromedp.EmulateViewport(screen.width, screen.height),
						chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
							_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
								{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
							}})
							return err
						}))
					for selector, words := range s.want {
						p.shows(selector, words...)
					}
					p.truth("the page is no wider than the screen", `document.documentElement.scrollWidth <= window.innerWidth`)
					p.truth("the page ends behind its foot", `document.documentElement.scrollHeight <= Math.max(window.innerHeight, Math.ceil(document.querySelector('footer').getBoundingClientRect().bottom + window.scrollY) + 4)`)
					if faint := got(p, chromedp.Evaluate[[]string](contrast)); len(faint) > 0 {
						t.Errorf("hard to read: %s", strings.Join(faint, "; "))
					}
					if *shots == "" {
						return
					}
					picture := got(p, chromedp.FullScreenshot(100))
					file := filepath.Join(*shots, strings.Join([]string{name, screen.name, scheme}, "-")+".png")
					if err := os.WriteFile(file, picture, 0o644); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
}

// contrast names the texts whose colour is less than 4.5 times as bright or dark as
// their ground, as WCAG 2 has it.
const contrast = `(() => {
  const parts = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (n) => { for (; n; n = n.parentElement) { const c = parts(getComputedStyle(n).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const bad = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const n = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || n.closest('.unseen, svg, noscript, dialog, [hidden], .stale > :not(.verdict), option')) continue;
    const a = light(parts(getComputedStyle(n).color)), b = light(ground(n));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.add(n.tagName + '.' + n.className + ' ' + ratio.toFixed(2) + ' ' + n.textContent.trim().slice(0, 30));
  }
  return [...bad];
})()`

// TestText: what a cluster calls its nodes and gives as reasons is text to the page,
// whatever it looks like.
func TestText(t *testing.T) {
	s := scenes()["refused"]
	evil := `<img src=x onerror="window.hit=1"><script>window.hit=1</script>`
	s.status.Cluster = evil
	s.status.Refusals[0].Why, s.status.Refusals[0].Remedy = evil, evil
	s.status.Nodes[2].Name, s.status.Nodes[2].Problem = evil, evil
	srv := serve(t, s, nil)
	p := open(browser(t), t, srv.Addr())
	p.shows("#verdict-body", evil)
	p.shows("#cluster", evil)
	p.shows("#nodes", evil)
	s.tell(t, event{kind: "node.failed", node: evil, data: map[string]any{"reason": evil}})
	p.shows("#events", evil)
	p.truth("nothing of it is markup", `!window.hit && !document.querySelector('main img, main script')`)
}

// TestSteering: without a token there is no way to change anything; with it what was
// asked is done, and the page forgets it when it is loaded anew.
func TestSteering(t *testing.T) {
	s := scenes()["refused"]
	srv := serve(t, s, func() (string, error) { return "s3cret", nil })
	p := open(browser(t), t, srv.Addr())
	p.shows("#verdict-title", "A plan waits for you")
	p.truth("there is no button to approve", `![...document.querySelectorAll('button')].some((b) => b.textContent.includes('Approve'))`)
	p.asks("#unlock")
	p.do(chromedp.SendKeys("dialog input", "wrong\r"))
	p.shows("dialog .problem", "shows no token, or a wrong one")
	p.fill("dialog input", "")
	p.do(chromedp.SendKeys("dialog input", "s3cret\r"))
	p.shows("#verdict-body", "Approve the plan for n3")
	p.asks("#verdict-body button")
	p.do(chromedp.SendKeys("dialog input[name=reason]", "looked at it"), chromedp.Click("dialog button.go"))
	p.shows("#steering-said", "approved")
	p.asks("#steering-body button")
	p.fill("dialog select", "30m")
	p.do(chromedp.Click("dialog button.go"))
	p.shows("#steering-said", "paused")
	if got := s.told(); got != "approve r3 s1 looked at it, pause 30m0s" {
		t.Errorf("told %q", got)
	}
	p.do(chromedp.Reload())
	p.shows("#unlock", "Steer")
	p.truth("the token is nowhere", `localStorage.length + sessionStorage.length + document.cookie.length === 0`)
	p.truth("there is no button to approve", `![...document.querySelectorAll('button')].some((b) => b.textContent.includes('Approve'))`)
}

// TestSteeringIsOff: where nobody may change anything the page says so, and why.
func TestSteeringIsOff(t *testing.T) {
	srv := serve(t, scenes()["refused"], nil)
	p := open(browser(t), t, srv.Addr())
	p.shows("#verdict-title", "A plan waits for you")
	p.shows("#verdict-body", "Nobody can approve it yet")
	p.shows("#steering-off", "api.token_file")
	p.truth("the button is off, and says why", `document.querySelector('#unlock').disabled && document.querySelector('#unlock').getAttribute('aria-describedby') === 'steering-off'`)
}

// TestSilence: when the agent ends the page says so and since when, and goes on when
// it is back; nobody has to load it anew.
func TestSilence(t *testing.T) {
	s := scenes()["healthy"]
	srv := serve(t, s, nil)
	p := open(browser(t), t, srv.Addr())
	p.shows("#verdict-title", "Healthy")
	p.shows("#link", "live")
	p.silent = true
	addr := srv.Addr()
	if err := srv.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.shows("#verdict-title", "does not answer")
	p.shows("#link", "no answer")
	if *shots != "" {
		picture := got(p, chromedp.FullScreenshot(100))
		if err := os.WriteFile(filepath.Join(*shots, "silent-desk-light.png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again, err := api.New(api.Options{Addr: addr, Source: s, Recoveries: s, Events: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Stop(context.Background()) })
	p.shows("#verdict-title", "Healthy")
	p.shows("#link", "live")
	s.tell(t, event{kind: "slot.at_risk", node: "n2", data: map[string]any{"reason": "much WAL"}})
	p.shows("#events", "slot.at_risk", "much WAL")
	p.shows("#news", "slot.at_risk")
}

// TestKeyboard: everything that can be pressed is reached by the keyboard and has a
// name, and the landmarks are there.
func TestKeyboard(t *testing.T) {
	srv := serve(t, scenes()["healing"], nil)
	p := open(browser(t), t, srv.Addr())
	p.shows("#verdict-title", "Healing n3")
	p.shows("#past", "recovery of")
	p.truth("there are landmarks", `document.querySelectorAll('header, main, footer').length === 3 && document.querySelectorAll('h1').length === 1`)
	p.truth("every table has a caption and heads", `[...document.querySelectorAll('table')].every((t) => t.caption && t.querySelector('th[scope=col]'))`)
	p.truth("every picture has a name", `[...document.querySelectorAll('svg[role=img]')].every((s) => s.getAttribute('aria-label')) && document.querySelectorAll('svg[role=img]').length > 3`)
	p.truth("every field has a label", `[...document.querySelectorAll('select, input')].every((f) => f.labels.length > 0)`)
	var reached []string
	for range 12 {
		p.do(chromedp.KeyEvent("\t"))
		at := got(p, chromedp.Evaluate[string](`(document.activeElement.textContent || '').trim().slice(0, 20) + '|' + getComputedStyle(document.activeElement).outlineStyle`))
		reached = append(reached, at)
	}
	all := strings.Join(reached, "\n")
	for _, want := range []string{"Skip to the verdict|solid", "Steer…|solid"} {
		if !strings.Contains(all, want) {
			t.Errorf("the keyboard does not reach %s:\n%s", want, all)
		}
	}
}

func describe(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}
