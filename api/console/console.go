package console

import (
	"embed"
	"net/http"
	"path"
)

//go:embed page
var page embed.FS

// policy lets the page load its own parts, ask its own agent, and nothing else. Where
// the browser knows trusted types it also keeps scripts from making markup of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// part is a file of the page.
type part struct {
	kind string
	body []byte
}

// parts are all files that are served, by their names.
func parts() map[string]part {
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	out := map[string]part{}
	files, err := page.ReadDir("page")
	for _, f := range files {
		var p part
		if p.body, err = page.ReadFile("page/" + f.Name()); err != nil {
			break
		}
		if p.kind = types[path.Ext(f.Name())]; p.kind != "" {
			out[f.Name()] = p
		}
	}
	if err != nil {
		panic("console: what is built in cannot be read: " + err.Error())
	}
	return out
}

// Handler serves the page at the path / and its parts by the path's last element, as
// the router's {file} has it.
func Handler() http.Handler {
	all := parts()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("file")
		if name == "" {
			name = "index.html"
		}
		p, ok := all[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", p.kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(p.body) // the reader has gone: nobody to tell
	})
}
