package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	swaggerui "github.com/swaggo/files/v2"

	"leadloom/internal/account"
)

// asset is a reply that never changes while the process lives, with its gzip copy ready.
type asset struct {
	contentType, etag string
	plain, zipped     []byte
}

func newAsset(contentType string, body []byte) *asset {
	sum := sha256.Sum256(body)
	as := &asset{contentType: contentType, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, plain: body}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(body)
	if cerr := z.Close(); err == nil && cerr == nil && b.Len() < len(body) {
		as.zipped = b.Bytes()
	}
	return as
}

// serve answers with the copy that the client can read, or 304 when it has it.
func (as *asset) serve(w http.ResponseWriter, r *http.Request, cacheControl string) {
	h := w.Header()
	h.Set("ETag", as.etag)
	h.Set("Cache-Control", cacheControl)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), as.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", as.contentType)
	body := as.plain
	if as.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = as.zipped
	}
	_, _ = w.Write(body)
}

// docsPolicy lets the page load our own files and nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const docsPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Leadloom API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The document itself is at <a href="/api/openapi.json">/api/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/init.js"></script>
</body>
</html>
`

const docsInit = `SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null
});
`

// docsFiles are the only files of the documentation's program that are served, with their types.
var docsFiles = map[string]string{
	"swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	"swagger-ui.css":       "text/css; charset=utf-8",
	"favicon-32x32.png":    "image/png",
}

func (a *API) docs() {
	a.errorsPage()
	page := newAsset("text/html; charset=utf-8", []byte(docsPage))
	for i, path := range []string{"/docs", "/api/docs"} {
		a.plain(Route{Method: "GET", Path: path, ID: []string{"get-docs", "get-api-docs"}[i], Tag: "System", Summary: "Interactive documentation", Permission: account.Public, Also: []int{304}},
			"text/html", nil, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
				w.Header().Set("Content-Security-Policy", docsPolicy)
				page.serve(w, r, "no-cache")
			})
	}
	start := newAsset("text/javascript; charset=utf-8", []byte(docsInit))
	a.docsFile("init.js", func() *asset { return start })
	for name, contentType := range docsFiles {
		a.docsFile(name, sync.OnceValue(func() *asset {
			b, err := fs.ReadFile(swaggerui.FS, name)
			if err != nil {
				panic("httpapi: the documentation's file " + name + " is not in this program: " + err.Error())
			}
			return newAsset(contentType, b)
		}))
	}
	document := sync.OnceValues(func() (*asset, error) {
		b, err := a.OpenAPI()
		if err != nil {
			return nil, err
		}
		return newAsset("application/json", b), nil
	})
	for i, path := range []string{"/api/openapi.json", "/openapi.json"} {
		a.plain(Route{Method: "GET", Path: path, ID: []string{"get-api-openapi", "get-openapi"}[i], Tag: "System", Summary: "The OpenAPI 3.1 document of these routes", Permission: account.Public, Also: []int{304}},
			"application/json", nil, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
				as, err := document()
				if err != nil {
					writeProblem(w, r, err, a.Log)
					return
				}
				as.serve(w, r, "no-cache")
			})
	}
}

func (a *API) docsFile(name string, file func() *asset) {
	a.page(Route{Method: "GET", Path: "/docs/assets/" + name, Permission: account.Public}, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
		file().serve(w, r, "public, max-age=3600")
	})
}

// OpenAPI renders the document of every route that is not hidden. Call it after New.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().MarshalJSON() }
