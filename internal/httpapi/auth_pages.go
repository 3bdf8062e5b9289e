package httpapi

import (
	"bytes"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/service"
)

const maxForm = 16 << 10

// loginPages registers the pages with which a browser logs in; they need no script.
func (a *API) loginPages() {
	page := func(method, path, id string, p account.Permission, h func(http.ResponseWriter, *http.Request, account.Scope)) {
		a.page(Route{Method: method, Path: path, ID: id, Tag: "Pages", Permission: p, MaxBody: maxForm, Timeout: loginTimeout}, h)
	}
	page("GET", "/login", "login-page", account.Public, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
		showForm(w, r, http.StatusOK, loginForm(localPath(r.URL.Query().Get("next")), "", nil))
	})
	page("POST", "/login", "login-form", account.Public, a.postLogin)
	page("POST", "/logout", "logout-form", account.Anyone, a.postLogout)
	page("GET", "/setup", "setup-page", account.Public, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
		showForm(w, r, http.StatusOK, setupForm(r.URL.Query().Get("token"), "", "", nil))
	})
	page("POST", "/setup", "setup-form", account.Public, a.postSetup)
}

func (a *API) postLogin(w http.ResponseWriter, r *http.Request, _ account.Scope) {
	if err := readForm(w, r); err != nil {
		writeProblem(w, r, err, a.Log)
		return
	}
	c := stateOf(r.Context()).client
	next, name := localPath(r.PostFormValue("next")), r.PostFormValue("username")
	l, err := a.Services.Accounts.Login(r.Context(), service.LoginInput{Name: name, Password: r.PostFormValue("password"), Tenant: r.PostFormValue("tenant"), Address: c.address, Device: c.device, Kind: account.SessionCookie})
	if err != nil {
		a.formAgain(w, r, err, loginForm(next, name, err))
		return
	}
	setSessionCookie(w, c, l.Token)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (a *API) postLogout(w http.ResponseWriter, r *http.Request, sc account.Scope) {
	if err := a.Services.Accounts.Logout(r.Context(), sc); err != nil {
		writeProblem(w, r, err, a.Log)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: stateOf(r.Context()).client.secure})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (a *API) postSetup(w http.ResponseWriter, r *http.Request, _ account.Scope) {
	if err := readForm(w, r); err != nil {
		writeProblem(w, r, err, a.Log)
		return
	}
	c := stateOf(r.Context()).client
	token, name, email := r.PostFormValue("token"), r.PostFormValue("username"), r.PostFormValue("email")
	l, err := a.Services.Accounts.Setup(r.Context(), service.SetupInput{Token: token,
		User:  account.NewUser{Username: name, Email: email, Password: r.PostFormValue("password")},
		Login: service.LoginInput{Address: c.address, Device: c.device, Kind: account.SessionCookie}})
	if err != nil {
		a.formAgain(w, r, err, setupForm(token, name, email, err))
		return
	}
	setSessionCookie(w, c, l.Token)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// readForm takes a form from one of our own pages.
func readForm(w http.ResponseWriter, r *http.Request) error {
	if !sameOrigin(r, true) {
		return errCrossSite()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return errBody(err, maxForm)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it was for the body: a login may wait longer
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := r.ParseForm(); err != nil {
		return fault.Malformed("unreadable_form", "The form could not be read. Send it as application/x-www-form-urlencoded.")
	}
	return nil
}

func setSessionCookie(w http.ResponseWriter, c client, token account.Secret) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: token.Reveal(), Path: "/", MaxAge: int(account.SessionLifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.secure})
}

// askLogin sends a browser that opens a page without a session to the login page; false for everybody else.
func askLogin(w http.ResponseWriter, r *http.Request, err error) bool {
	if !fault.IsKind(err, fault.KindUnauthorized) || r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	http.Redirect(w, r, "/login?next="+url.QueryEscape(localPath(r.URL.RequestURI())), http.StatusSeeOther)
	return true
}

// localPath keeps a path of ours and turns everything else, above all another site's address, into /.
func localPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsRune(s, '\\') || strings.ContainsFunc(s, unicode.IsControl) {
		return "/"
	}
	return s
}

// form is a page with one form.
type form struct {
	Title, Action, Button string
	Problems              []string
	Hidden                map[string]string
	Inputs                []formInput
}

type formInput struct{ Label, Name, Type, Value, Autocomplete, Hint string }

func loginForm(next, name string, err error) form {
	return form{Title: "Log in", Action: "/login", Button: "Log in", Problems: sentences(err), Hidden: map[string]string{"next": next}, Inputs: []formInput{
		{Label: "Username or e-mail", Name: "username", Type: "text", Value: name, Autocomplete: "username"},
		{Label: "Password", Name: "password", Type: "password", Autocomplete: "current-password"},
	}}
}

func setupForm(token, name, email string, err error) form {
	return form{Title: "Set up Leadloom", Action: "/setup", Button: "Create the administrator", Problems: sentences(err), Hidden: map[string]string{"token": token}, Inputs: []formInput{
		{Label: "Username", Name: "username", Type: "text", Value: name, Autocomplete: "username"},
		{Label: "E-mail", Name: "email", Type: "email", Value: email, Autocomplete: "email"},
		{Label: "Password", Name: "password", Type: "password", Autocomplete: "new-password", Hint: "At least " + strconv.Itoa(account.MinPasswordRunes) + " characters."},
	}}
}

// sentences are what was wrong, in words.
func sentences(err error) []string {
	f := fault.As(err)
	if f == nil {
		return nil
	}
	if len(f.Fields) == 0 {
		return []string{f.Message}
	}
	var out []string
	for _, p := range f.Fields {
		out = append(out, p.Path+": "+p.Message)
	}
	return out
}

// formAgain shows the form with what was wrong; what the person cannot mend is a problem document.
func (a *API) formAgain(w http.ResponseWriter, r *http.Request, err error, f form) {
	p := toProblem(r.Context(), err, a.Log)
	if p.Status >= 500 {
		writeProblem(w, r, err, nil)
		return
	}
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	showForm(w, r, p.Status, f)
}

func showForm(w http.ResponseWriter, _ *http.Request, status int, f form) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_ = formPage.Execute(w, f) // the client has gone: nobody is left to tell
}

var formPage = template.Must(template.New("form").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} · Leadloom</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 22rem; margin: 12vh auto 0; padding: 0 1rem; }
label { display: block; margin-top: 1rem; }
input { display: block; box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; }
button { margin-top: 1.5rem; width: 100%; padding: .6rem; font: inherit; }
.problems { border-left: .25rem solid #c92a2a; padding-left: .75rem; }
small { opacity: .8; }
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{if .Problems}}<div class="problems" role="alert">{{range .Problems}}<p>{{.}}</p>{{end}}</div>{{end}}
<form method="post" action="{{.Action}}">
{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}{{range .Inputs}}<label>{{.Label}}
<input name="{{.Name}}" type="{{.Type}}" value="{{.Value}}" autocomplete="{{.Autocomplete}}" {{if ne .Type "email"}}required{{end}}>
{{if .Hint}}<small>{{.Hint}}</small>{{end}}</label>
{{end}}<button>{{.Button}}</button>
</form>
</main>
</body>
</html>
`))
