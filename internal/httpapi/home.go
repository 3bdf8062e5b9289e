package httpapi

import (
	"html/template"
	"net/http"
	"strings"

	"leadloom/internal/account"
)

const homePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Link is an entry of the plain start page.
type Link struct{ Path, Name, About string }

var homePage = template.Must(template.New("home").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Leadloom</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
a{color:#0b5cad}li{margin:.6rem 0}small{color:#57606a}
@media (prefers-color-scheme:dark){body{color:#e6e8eb;background:#15181c}a{color:#79b8ff}small{color:#9aa4af}}
</style>
</head>
<body>
<h1>Leadloom</h1>
<p>This server runs, version {{.Version}}. It takes leads, works them through workflows and keeps a CRM in step.</p>
<ul>
{{range .Links}}<li><a href="{{.Path}}">{{.Name}}</a><br><small>{{.About}}</small></li>
{{end}}</ul>
</body>
</html>
`))

func (a *API) home() {
	a.page(Route{Method: "GET", Path: "/{$}", Permission: account.Public}, func(w http.ResponseWriter, _ *http.Request, _ account.Scope) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", homePolicy)
		h.Set("Cache-Control", "no-cache")
		links := append([]Link{
			{"/docs", "API documentation", "Every route, to read and to try."},
			{"/admin/jobs/", "Jobs", "What the server does in the background; for administrators."},
			{"/health/detailed", "Health", "Each part with its reason and what to do."},
		}, a.Links...)
		var b strings.Builder
		if err := homePage.Execute(&b, map[string]any{"Version": a.Version, "Links": links}); err != nil {
			a.Log.Error("start page", "error", err.Error())
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(b.String()))
	})
}
