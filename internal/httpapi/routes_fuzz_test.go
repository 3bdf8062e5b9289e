package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"

	"leadloom/internal/account"
)

// fuzzed are the routes that FuzzRoute calls: all with a JSON reply but those that hash a password each time, which are
// too slow to be tried often.
func fuzzed(api *API) []Route {
	var out []Route
	for _, rt := range api.Routes() {
		if !rt.Hidden && strings.HasPrefix(rt.Path, "/api/") && rt.ID != "login" && rt.ID != "change-password" && rt.ID != "create-user" && rt.ID != "set-up" {
			out = append(out, rt)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path+out[i].Method < out[j].Path+out[j].Method })
	return out
}

// FuzzRoute sends any body, query, If-Match and Idempotency-Key to every route, on objects that exist: never a 5xx, every
// refusal a problem document with a code and, when fields are wrong, their paths, and every reply as the document has it.
func FuzzRoute(f *testing.F) {
	s := newAccountServer(f, cheapHash)
	admin := s.login(f, "admin")
	own := ownObjects(f, s, admin)
	_, key := s.key(f, admin, "")
	routes := fuzzed(s.api)
	seeds := []string{`{"a":null}`, `[]`, `{"name":"x","tags":["a",null],"custom_fields":{"budget":1e400}}`, `{"lead_ids":["x"],"filter":{"all":[{"field":"score","op":">","value":1}]}}`}
	for i, rt := range routes {
		body := validBodies[rt.Method+" "+rt.Path]
		f.Add(uint16(i), body, "limit=2&skip=1&cursor=AAAA", `"1"`, "")
		if body == "" && bodyOf(rt.Method) != "" {
			f.Add(uint16(i), seeds[i%len(seeds)], "", "", "k")
		}
	}
	handler := s.api.Handler()
	f.Fuzz(func(t *testing.T, n uint16, body, query, ifMatch, once string) {
		rt := routes[int(n)%len(routes)]
		u, err := url.Parse("http://x" + fill(rt.Path, func(prefix string) string {
			if id, ok := own[prefix]; ok && rt.Method != "DELETE" { // what is deleted is not there for the next
				return id
			}
			return missing(prefix)
		}))
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = query
		r := httptest.NewRequest(rt.Method, "/", strings.NewReader(body))
		r.URL, r.RequestURI, r.Host = u, u.RequestURI(), "x"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-API-Key", key)
		r.Header["If-Match"], r.Header["Idempotency-Key"] = []string{ifMatch}, []string{once}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		checkReply(t, w, rt)
		conform(t, s.api, rt.Method, u.String(), w.Code, w.Header(), w.Body.String())
	})
}

// checkReply fails for a 5xx and for a refusal that is no problem document with a code and the paths of wrong fields.
func checkReply(t *testing.T, w *httptest.ResponseRecorder, rt Route) {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("%s %s: %d\n%s", rt.Method, rt.Path, w.Code, w.Body)
	}
	if w.Code < 400 {
		return
	}
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" || p.Code == "" || p.Detail == "" || p.Status != w.Code {
		t.Fatalf("%s %s: %d is no problem document: %v\n%s", rt.Method, rt.Path, w.Code, err, w.Body)
	}
	if p.Code == "validation_failed" && len(p.Errors) == 0 {
		t.Fatalf("%s %s: a 422 without fields\n%s", rt.Method, rt.Path, w.Body)
	}
	for _, e := range p.Errors {
		if e.Code == "" || e.Message == "" {
			t.Fatalf("%s %s: a field without a reason: %+v", rt.Method, rt.Path, e)
		}
	}
}

// FuzzCredential: no header and no cookie that we did not give out lets anyone in, and the refusal says nothing of it back.
func FuzzCredential(f *testing.F) {
	s := newAccountServer(f, cheapHash)
	_, key := s.key(f, s.login(f, "admin"), "")
	token := s.login(f, "guest")
	for _, h := range []string{"Bearer " + key[:len(key)-1], "bearer  " + token[:len(token)-2] + "AA", "Basic YTpi", "Bearer", "Bearer e30.e30.", "\x00", "Bearer ll_" + strings.Repeat("a", 51)} {
		f.Add(h, "", "")
		f.Add("", strings.TrimPrefix(h, "Bearer "), "")
		f.Add("", "", "leadloom_session="+strings.TrimPrefix(h, "Bearer "))
	}
	handler := s.api.Handler()
	f.Fuzz(func(t *testing.T, authorization, apiKey, cookie string) {
		for _, h := range []string{authorization, apiKey, cookie} {
			if strings.Contains(h, key) || strings.Contains(h, token) {
				return
			}
		}
		r := httptest.NewRequest("GET", "/api/auth/me", nil)
		r.Header["Authorization"], r.Header["X-Api-Key"], r.Header["Cookie"] = []string{authorization}, []string{apiKey}, []string{cookie}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		checkReply(t, w, Route{Method: "GET", Path: "/api/auth/me"})
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
			t.Fatalf("%q, %q, %q: %d\n%s", authorization, apiKey, cookie, w.Code, w.Body)
		}
		if _, secret, ok := strings.Cut(authorization, "Bearer "); ok && len(secret) > 12 && strings.Contains(w.Body.String(), secret) {
			t.Fatalf("the refusal repeats the credential: %s", w.Body)
		}
	})
}

// FuzzClient: whoever stands in X-Forwarded-For, the client's address is one, and without a trusted proxy it is the
// connection's own.
func FuzzClient(f *testing.F) {
	f.Add("127.0.0.1:9", "1.2.3.4, 127.0.0.1", "https")
	f.Add("[::1%eth0]:9", "fe80::1%a,,", "")
	f.Add("10.0.0.1:9", "8.8.8.8", "https")
	f.Add("no address", "x", "http")
	api := &API{Deps: Deps{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, remote, forwarded, proto string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}, "X-Forwarded-Proto": {proto}}}
		c := api.clientOf(r)
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return
		}
		if _, err := netip.ParseAddr(c.address); err != nil {
			t.Fatalf("%q behind %q is %q", forwarded, remote, c.address)
		}
		if !api.trusted(ap.Addr().Unmap()) && (c.address != ap.Addr().Unmap().String() || c.secure) {
			t.Fatalf("%q is believed without a trusted proxy: %+v", forwarded, c)
		}
	})
}

// FuzzRequestID: the id in replies and logs is short, plain and never empty.
func FuzzRequestID(f *testing.F) {
	f.Add("mine-1", "")
	f.Add("a\r\nSet-Cookie: x", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add(strings.Repeat("x", 129), "00-00000000000000000000000000000000-0000000000000000-00")
	f.Fuzz(func(t *testing.T, sent, trace string) {
		id := requestID(sent, trace)
		if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			t.Fatalf("%q with %q gives %q", sent, trace, id)
		}
	})
}

// FuzzLocalPath: where a login leads is a path of this server.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"", "/docs", "//evil.example", "/\\evil.example", "https://evil.example", "/a?next=//b", "/\t/evil.example", "\x01/x", "/%2f%2fevil.example", "javascript:alert(1)"} {
		f.Add(s)
	}
	base, err := url.Parse("https://leads.example.org/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := localPath(s)
		u, err := base.Parse(p)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t\x00") {
			t.Fatalf("%q leads to %q (%v)", s, p, err)
		}
	})
}

// FuzzBodies gives any JSON to the bodies that decode themselves: what one takes is text, and a refusal names its field.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{`"a@b.de"`, `{"email":"a@b.de","first_name":null}`, `{"email":"external_id"}`, `[{"ours":"email","theirs":"e"}]`, `{"workflow_id":"w","lead_id":null,"lead_data":{"tags":7},"custom_context":{"n":1e999}}`,
		`{"type":"oauth","api_key":"s","headers":{"X":"y"},"username":7,"x":{}}`, `{"subject":"s","html":"<p>","body":"b"}`, `null`, `7`, `[]`, `{"custom_context":[]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || !utf8.Valid(raw) {
			return // refused before
		}
		var person recipientInput
		if json.Unmarshal(raw, &person) == nil && !utf8.ValidString(person.Email) {
			t.Fatalf("%s names %q", raw, person.Email)
		}
		var content contentInput
		_ = json.Unmarshal(raw, &content)
		var mapping mappingBody
		if json.Unmarshal(raw, &mapping) == nil && mapping.fields != nil && len(mapping.fields) == 0 {
			t.Fatalf("%s is a mapping of nothing", raw)
		}
		var trigger triggerBody
		if err := json.Unmarshal(raw, &trigger); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if _, err := trigger.input("w", "api"); err != nil {
			checkFault(t, raw, err)
		}
		var free map[string]any
		if json.Unmarshal(raw, &free) != nil {
			return
		}
		if settings, secrets, ignored, err := splitAuthentication(free); err != nil {
			checkFault(t, raw, err)
		} else if len(ignored) > 20 || settings != nil && len(settings.Headers) > len(raw) || len(secrets) > len(free) {
			t.Fatalf("%s gives %v, %d secrets, %v", raw, settings, len(secrets), ignored)
		}
		in := configureCRMInput{}
		in.Body.Authentication = &free
		_, _, _ = connectionInput(&in)
	})
}

func checkFault(t *testing.T, raw []byte, err error) {
	t.Helper()
	p := toProblem(t.Context(), err, nil)
	if p.Status >= 500 || p.Status == 422 && (len(p.Errors) == 0 || p.Errors[0].Code == "") {
		t.Fatalf("%s is refused with %+v", raw, p)
	}
}

// FuzzForeignIDs: an id of the other tenant and one that nobody has get the same answer, wherever in a body or query they
// stand.
func FuzzForeignIDs(f *testing.F) {
	s := newAccountServer(f, cheapHash)
	own := ownObjects(f, s, s.login(f, "admin"))
	_, foreign := s.key(f, s.login(f, "admin-other"), "")
	var ids []string
	for prefix, id := range own {
		if _, word := words[prefix]; !word && len(id) == len(missingID) {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	var routes []Route
	for _, rt := range fuzzed(s.api) {
		if rt.Permission != account.SystemAdmin && rt.Method != "DELETE" {
			routes = append(routes, rt)
		}
	}
	for i := range routes {
		f.Add(uint16(i), uint16(i), `{"lead_id":"ID","workflow_id":"ID","lead_ids":["ID"],"owner_id":"ID","template_id":"ID","connection_id":"ID","leads":["ID"]}`, "lead_id=ID&owner=ID&subject_id=ID&cursor=ID")
	}
	handler := s.api.Handler()
	f.Fuzz(func(t *testing.T, n, of uint16, body, query string) {
		if !strings.Contains(body+query, "ID") {
			return
		}
		rt, id := routes[int(n)%len(routes)], ids[int(of)%len(ids)]
		ask := func(id string) (int, string) {
			r := httptest.NewRequest(rt.Method, "/", strings.NewReader(strings.ReplaceAll(body, "ID", id)))
			u, err := url.Parse("http://x" + fill(rt.Path, missing))
			if err != nil {
				t.Fatal(err)
			}
			u.RawQuery = strings.ReplaceAll(query, "ID", id) + "&dry_run=true"
			r.URL, r.RequestURI = u, u.RequestURI()
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-API-Key", foreign)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			checkReply(t, w, rt)
			return w.Code, w.Body.String()
		}
		before, _ := ask(missingID)
		status, text := ask(id)
		if after, _ := ask(missingID); status != before && status != after { // the first call may have made what the next finds
			t.Fatalf("%s %s?%s %s: %d for another tenant's id, %d and %d for one that nobody has\n%s", rt.Method, rt.Path, query, body, status, before, after, text)
		}
		if strings.Contains(text, "ada@example.org") || strings.Contains(text, "planted") {
			t.Fatalf("%s %s shows another tenant's data\n%s", rt.Method, rt.Path, text)
		}
	})
}
