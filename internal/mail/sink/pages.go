package sink

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
)

// pagePolicy lets the pages show text and one sandboxed frame; nothing may load from anywhere.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// bodyPolicy holds for a message's own HTML: no script, no form, no request to anyone, an origin of its own.
const bodyPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// Handler serves the list at prefix, a message at prefix+"m/{name}", its HTML part at "…/html" (only to be framed)
// and its source at "…/raw". Mount it behind the same access as the rest of the demo.
func (s *Server) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"{$}", func(w http.ResponseWriter, r *http.Request) { s.showList(w, prefix) })
	mux.HandleFunc("GET "+prefix+"m/{name}", func(w http.ResponseWriter, r *http.Request) { s.showMessage(w, r, prefix) })
	mux.HandleFunc("GET "+prefix+"m/{name}/html", s.showHTML)
	mux.HandleFunc("GET "+prefix+"m/{name}/raw", s.showRaw)
	return mux
}

func page(w http.ResponseWriter, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	secure(w, pagePolicy)
	_, _ = w.Write(b.Bytes())
}

func secure(w http.ResponseWriter, policy string) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
}

func (s *Server) showList(w http.ResponseWriter, prefix string) {
	list := s.Entries()
	shown := list[:min(len(list), 200)]
	page(w, listPage, map[string]any{"Prefix": prefix, "Entries": shown, "Total": len(list)})
}

func (s *Server) showMessage(w http.ResponseWriter, r *http.Request, prefix string) {
	raw, e, ok := s.Raw(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	p := parse(raw)
	page(w, messagePage, map[string]any{"Prefix": prefix, "Entry": e, "Headers": p.headers, "Text": p.text, "HasHTML": p.html != ""})
}

func (s *Server) showHTML(w http.ResponseWriter, r *http.Request) {
	raw, _, ok := s.Raw(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	secure(w, bodyPolicy)
	_, _ = io.WriteString(w, parse(raw).html)
}

func (s *Server) showRaw(w http.ResponseWriter, r *http.Request) {
	raw, _, ok := s.Raw(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	secure(w, pagePolicy)
	_, _ = w.Write(raw)
}

// parsed is what a page shows of a message; broken parts are shown as far as they can be read.
type parsed struct {
	headers    [][2]string
	text, html string
}

func parse(raw []byte) parsed {
	var p parsed
	r, err := mail.CreateReader(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) || r == nil {
		p.text = string(raw)
		return p
	}
	defer r.Close()
	for f := r.Header.Fields(); f.Next(); {
		v, err := f.Text()
		if err != nil {
			v = f.Value()
		}
		p.headers = append(p.headers, [2]string{f.Key(), v})
	}
	for {
		part, err := r.NextPart()
		if part == nil || err != nil && !message.IsUnknownCharset(err) {
			return p
		}
		h, ok := part.Header.(*mail.InlineHeader)
		if !ok {
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(part.Body, MaxMessage))
		switch kind, _, _ := h.ContentType(); kind {
		case "text/html":
			p.html += string(body)
		default:
			p.text += string(body)
		}
	}
}

func decodeHeader(v string) string {
	if d, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		return d
	}
	return v
}

var functions = template.FuncMap{
	"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"size": func(n int) string {
		if n < 1024 {
			return fmt.Sprintf("%d B", n)
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/1024), ".0") + " KiB"
	},
}

const head = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mail sink · Leadloom</title><style>
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #8884;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#8881;padding:1rem}iframe{width:100%;height:30rem;border:1px solid #8886;background:#fff}
.muted{opacity:.7}a{color:inherit}</style></head><body><main>`

var listPage = template.Must(template.New("list").Funcs(functions).Parse(head + `
<h1>Mail sink</h1><p class="muted">Everything this server sent ends here; nothing was delivered. {{.Total}} kept, newest first, at most 200 shown.</p>
{{if .Entries}}<table><thead><tr><th>At</th><th>To</th><th>Subject</th><th>Size</th></tr></thead><tbody>
{{range .Entries}}<tr><td>{{when .At}}</td><td>{{.To}}</td><td><a href="{{$.Prefix}}m/{{.Name}}">{{if .Subject}}{{.Subject}}{{else}}(no subject){{end}}</a></td><td>{{size .Size}}</td></tr>{{end}}
</tbody></table>{{else}}<p>No message yet. Send one: start a campaign, or run a workflow with an e-mail step.</p>{{end}}</main></body></html>`))

var messagePage = template.Must(template.New("message").Funcs(functions).Parse(head + `
<p><a href="{{.Prefix}}">All messages</a> · <a href="{{.Prefix}}m/{{.Entry.Name}}/raw">Source</a></p>
<h1>{{if .Entry.Subject}}{{.Entry.Subject}}{{else}}(no subject){{end}}</h1>
<table><tbody>{{range .Headers}}<tr><th>{{index . 0}}</th><td>{{index . 1}}</td></tr>{{end}}</tbody></table>
{{if .HasHTML}}<h2>HTML</h2><iframe sandbox title="The message's HTML part" src="{{.Prefix}}m/{{.Entry.Name}}/html"></iframe>{{end}}
{{if .Text}}<h2>Text</h2><pre>{{.Text}}</pre>{{end}}</main></body></html>`))
