package httpapi

import (
	"html/template"
	"net/http"
	"strings"

	"leadloom/internal/account"
)

// problemHelp explains a code of problem documents; their "type" leads here.
type problemHelp struct {
	Status int
	Code   string
	Help   string
}

// problemCodes are the codes of this layer and of faults in general; a code of one noun explains itself in its detail.
var problemCodes = []problemHelp{
	{400, "malformed", "The body is not JSON, or ended early. Nothing was read from it."},
	{400, "unreadable_body", "The body ended before its length, or its chunks are none. Send it again whole."},
	{400, "unreadable_query", "The query is not UTF-8 text in percent encoding."},
	{401, "no_credential", "Send Authorization: Bearer with an access token or API key, or X-API-Key."},
	{401, "wrong_credentials", "The username or the password is wrong, or the user is not active."},
	{401, "token_expired", "The access token's hour is over. Use POST /api/auth/refresh, or log in again."},
	{401, "session_ended", "The session was ended, was not used for 12 hours, or is 30 days old. Log in again."},
	{401, "key_expired", "The API key has expired. Make another one."},
	{401, "key_revoked", "The API key was revoked, or its user is not active any more. Make another one."},
	{401, "bad_refresh_token", "The refresh token was exchanged before, or its session has ended. Log in again."},
	{401, "bad_setup_token", "The set-up link was used, is older than a day, or a user exists. Restart for a new one."},
	{403, "needs_a_user", "An API key may not do this. Log in as a user."},
	{403, "forbidden", "You are known, but lack the permission that the detail names."},
	{403, "foreign_origin", "A browser sent this from a page of another site."},
	{404, "not_found", "There is no such object in your tenant."},
	{404, "no_such_route", "No route has this path. /docs lists those that exist."},
	{405, "method_not_allowed", "The path exists with other methods: see Allow."},
	{408, "body_too_slow", "The body did not arrive in time. Send it again over a faster connection, or less at once."},
	{409, "conflict", "Another request changed the same thing at the same moment. Read again, repeat."},
	{409, "still_running", "The first request with this Idempotency-Key has not ended. Repeat after Retry-After."},
	{409, "last_admin", "A tenant keeps one active administrator. Make another user administrator first."},
	{412, "stale", "If-Match does not hold any more; current shows the resource as it is now."},
	{413, "too_large", "The body is larger than the route takes."},
	{415, "unsupported_media_type", "Send application/json."},
	{415, "unsupported_encoding", "Send the body as it is, without gzip or another Content-Encoding."},
	{422, "validation_failed", "errors lists every bad field with its path, a code and what to send."},
	{429, "login_throttled", "Too many failed logins with this name from your address. Wait for Retry-After."},
	{429, "login_busy", "Too many logins wait for their turn. Try again after Retry-After."},
	{500, "internal", "Our fault. Nothing was changed. The log has more under the request id."},
	{503, "too_slow", "The server gave the request up after its time. Read again what it was about, or repeat it with the same Idempotency-Key."},
	{503, "overloaded", "More requests wait than can be worked on. Repeat after Retry-After."},
	{503, "database_unavailable", "The database cannot be reached or written now. Repeat after Retry-After."},
	{503, "disk_full", "The disk of the database is full. Reads go on; writes come back when there is room."},
	{503, "shutting_down", "The server is stopping. Repeat shortly."},
	{508, "self_loop", "A connection of this installation points at itself."},
}

var errorsPage = template.Must(template.New("errors").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Leadloom: problems</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
td{padding:.3rem .8rem .3rem 0;vertical-align:top}:target{background:#fff3c4}
@media (prefers-color-scheme:dark){body{color:#e6e8eb;background:#15181c}:target{background:#4d4219}a{color:#79b8ff}}
</style>
</head>
<body>
<h1>Problems</h1>
<p>Every refusal is a problem document (RFC 9457): <code>status</code>, <code>code</code> (stable, made for programs),
<code>detail</code> (what to do), <code>request_id</code>, and with 422 one entry in <code>errors</code> per bad field.</p>
<table>
{{range .}}<tr id="{{.Code}}"><td>{{.Status}}</td><td><code>{{.Code}}</code></td><td>{{.Help}}</td></tr>
{{end}}</table>
<p>Other codes belong to one kind of object; their detail says what to do.</p>
</body>
</html>
`))

func (a *API) errorsPage() {
	var b strings.Builder
	if err := errorsPage.Execute(&b, problemCodes); err != nil {
		panic("httpapi: the page of problems: " + err.Error()) // its template and data are constants
	}
	page := newAsset("text/html; charset=utf-8", []byte(b.String()))
	a.page(Route{Method: "GET", Path: "/docs/errors", Permission: account.Public}, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
		w.Header().Set("Content-Security-Policy", homePolicy)
		page.serve(w, r, "no-cache")
	})
}
