package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
)

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

func withoutRequestID(body string) string { return requestIDs.ReplaceAllString(body, "") }

func TestLogin_GivesWhatOldClientsRead(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	for _, name := range []string{"admin", "ADMIN", "admin@example.org", "Admin@Example.org"} {
		m := s.as(t, "", "POST", "/api/auth/login", `{"username":"`+name+`","password":"`+testPassword+`","remember":true}`).want(200).json()
		if m["token_type"] != "bearer" || m["username"] != "admin" || m["role"] != "admin" || m["expires_in"] != 3600.0 || m["user_id"] == "" {
			t.Errorf("login as %s gives %v", name, m)
		}
		me := s.as(t, m["access_token"].(string), "GET", "/api/auth/me", "").want(200).json()
		if me["user_id"] != m["user_id"] || me["email"] != "admin@example.org" || me["tenant_id"] != "default" || len(me["permissions"].([]any)) != account.AllPermissions.Len() {
			t.Errorf("me is %v", me)
		}
	}
	me := s.as(t, s.login(t, "admin-other"), "GET", "/api/auth/me", "").want(200)
	if me.json()["tenant_id"] != "other" || strings.Contains(me.Body, "system:admin") {
		t.Errorf("an administrator of another tenant is %s", me.Body)
	}
}

func TestLogin_SameAnswerForEveryWrongOne(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	s.as(t, admin, "POST", "/api/users/"+s.userID(t, admin, "guest")+"/deactivate", "").want(200)
	wrong := s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","password":"not the password"}`)
	wrong.problem(401, "wrong_credentials")
	for _, body := range []string{
		`{"username":"nobody","password":"not the password"}`, `{"username":"nobody@example.org","password":"x"}`,
		`{"username":"guest","password":"` + testPassword + `"}`, `{"username":"admin","password":"` + testPassword + `","tenant":"other"}`,
	} {
		r := s.as(t, "", "POST", "/api/auth/login", body)
		r.problem(401, "wrong_credentials")
		if withoutRequestID(r.Body) != withoutRequestID(wrong.Body) {
			t.Errorf("%s is told apart from a wrong password:\n%s%s", body, r.Body, wrong.Body)
		}
	}
	got := s.as(t, "", "POST", "/api/auth/login", `{}`).problem(422, "validation_failed")
	if got["username"] != "required" || got["password"] != "required" {
		t.Errorf("an empty login's problems are %v", got)
	}
	s.as(t, "", "POST", "/api/auth/login", `{"username":1}`).want(422)
	s.as(t, "", "POST", "/api/auth/login", `{`).want(400)
}

func TestLogin_FailuresSlowDownOnlyWhoGuesses(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	try := func(password, from string) *reply {
		return s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","password":"`+password+`"}`, "X-Forwarded-For", from)
	}
	const guesser, owner = "198.51.100.1", "198.51.100.2"
	for range account.FreeLoginFailures {
		try("wrong password", guesser).problem(401, "wrong_credentials")
	}
	r := try(testPassword, guesser)
	r.problem(429, "login_throttled")
	if r.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After is %q, want 2", r.Header.Get("Retry-After"))
	}
	try("wrong password", "203.0.113.9, "+guesser).problem(429, "login_throttled")
	try(testPassword, owner).want(200)
	s.clock.add(2 * time.Second)
	try("wrong password", guesser).problem(401, "wrong_credentials")
	if r := try(testPassword, guesser); r.Status != 429 || r.Header.Get("Retry-After") != "4" {
		t.Errorf("after another failure: %d, Retry-After %q; want 429 and a longer delay", r.Status, r.Header.Get("Retry-After"))
	}
	s.clock.add(4 * time.Second)
	try(testPassword, guesser).want(200)
	try("wrong password", guesser).problem(401, "wrong_credentials")
	try(testPassword, guesser).want(200)
}

// TestLogin_ParallelGuessesAreCounted: those that wait behind a failure are not tried before its delay is over.
func TestLogin_ParallelGuessesAreCounted(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	var wg sync.WaitGroup
	status := make([]int, 60)
	for i := range status {
		wg.Go(func() {
			status[i] = s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","password":"wrong password"}`).Status
		})
	}
	wg.Wait()
	tried := 0
	for _, st := range status {
		if st == 401 {
			tried++
		} else if st != 429 {
			t.Errorf("a guess got %d", st)
		}
	}
	if limit := account.FreeLoginFailures + account.DefaultHasherLimits().AtOnce - 1; tried < account.FreeLoginFailures || tried > limit {
		t.Errorf("%d of 60 parallel guesses were tried, want %d to %d", tried, account.FreeLoginFailures, limit)
	}
}

// TestLogin_FloodLeavesOthersAlone: while logins wait for their turn, other requests are answered, and each login
// succeeds in the end.
func TestLogin_FloodLeavesOthersAlone(t *testing.T) {
	s := newAccountServer(t, account.HashParams{MemoryKiB: 8 << 10, Passes: 1, Lanes: 1})
	token := s.login(t, "manager")
	const logins = 40
	var wg sync.WaitGroup
	status := make([]int, logins)
	for i := range logins {
		wg.Go(func() {
			status[i] = s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","password":"`+testPassword+`"}`).Status
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	meanwhile := 0
	for over := false; !over; {
		_, before := s.svc.Accounts.PasswordLoad()
		s.as(t, token, "GET", "/api/auth/me", "").want(200)
		if _, after := s.svc.Accounts.PasswordLoad(); before > 0 && after > 0 {
			meanwhile++
		}
		select {
		case <-done:
			over = true
		default:
		}
	}
	for i, st := range status {
		if st != 200 {
			t.Errorf("login %d of the flood got %d, want 200", i, st)
		}
	}
	if meanwhile == 0 {
		t.Error("no other request was answered while logins waited")
	}
}

func TestLogout_EndsTheTokenAtOnce(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	one, two := s.login(t, "analyst"), s.login(t, "analyst")
	s.as(t, one, "GET", "/api/auth/me", "").want(200)
	s.as(t, one, "POST", "/api/auth/logout", "").want(200)
	s.as(t, one, "GET", "/api/auth/me", "").problem(401, "session_ended")
	s.as(t, two, "GET", "/api/auth/me", "").want(200)
	_, key := s.key(t, two, "")
	s.as(t, key, "POST", "/api/auth/logout", "").problem(409, "no_session")
}

func TestAccess_WrongCredentials(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	token := s.login(t, "admin")
	for name, c := range map[string]struct{ header, value, code string }{
		"nothing": {"X-Nothing", "x", "no_credential"}, "basic": {"Authorization", "Basic YTpi", "bad_credential"}, "empty": {"Authorization", "Bearer ", "bad_credential"},
		"garbage": {"Authorization", "Bearer a.b.c", "bad_token"}, "changed": {"Authorization", "Bearer " + token[:len(token)-4] + "AAAA", "bad_token"},
		"short key": {"X-API-Key", "ll_nokey", "bad_key"}, "unknown key": {"X-API-Key", "ll_" + strings.Repeat("a", 51), "bad_key"}, "huge": {"X-API-Key", strings.Repeat("a", 5000), "bad_token"},
		"cookie": {"Cookie", "leadloom_session=lc_nothing", "no_session"},
	} {
		r := s.as(t, "", "GET", "/api/auth/me", "", c.header, c.value)
		r.problem(401, c.code)
		if r.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
	}
	s.as(t, "", "GET", "/api/auth/me", "", "Authorization", "bearer "+token).want(200)
	s.clock.add(account.AccessLifetime)
	s.as(t, token, "GET", "/api/auth/me", "").problem(401, "token_expired")
}

func TestRefresh_ExchangesOnceAndEndsAStolenSession(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	first := s.as(t, "", "POST", "/api/auth/login", `{"username":"manager","password":"`+testPassword+`"}`).want(200).json()
	refresh := func(token any) *reply {
		return s.as(t, "", "POST", "/api/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, token))
	}
	second := refresh(first["refresh_token"]).want(200).json()
	s.as(t, second["access_token"].(string), "GET", "/api/auth/me", "").want(200)
	third := refresh(first["refresh_token"]).want(200).json() // the reply was lost: the same token again, shortly after
	s.clock.add(account.RefreshGrace + time.Second)
	refresh(second["refresh_token"]).problem(401, "bad_refresh_token")
	refresh(third["refresh_token"]).problem(401, "bad_refresh_token")
	s.as(t, third["access_token"].(string), "GET", "/api/auth/me", "").problem(401, "session_ended")
	refresh("lr_unknown").problem(401, "bad_refresh_token")

	token := s.login(t, "manager")
	renewed := s.as(t, token, "POST", "/api/auth/refresh", "").want(200).json()
	s.as(t, renewed["access_token"].(string), "GET", "/api/auth/me", "").want(200)
	s.as(t, "", "POST", "/api/auth/refresh", "").want(401)
	_, key := s.key(t, token, "")
	s.as(t, key, "POST", "/api/auth/refresh", "").problem(401, "no_session")
}

func TestSession_EndsWhenIdle(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	m := s.as(t, "", "POST", "/api/auth/login", `{"username":"manager","password":"`+testPassword+`"}`).want(200).json()
	s.clock.add(account.SessionIdle)
	s.as(t, "", "POST", "/api/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, m["refresh_token"])).problem(401, "bad_refresh_token")
}

func TestKeys_LiveAndEnd(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	r := s.as(t, admin, "POST", "/api/auth/keys", `{"name":"site","expires_in_days":1,"scopes":["user:read","lead:read"]}`).want(200)
	m := r.json()
	key, id := m["api_key"].(string), m["key_id"].(string)
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Location") != "/api/auth/keys/"+id || !strings.HasPrefix(key, "ll_") {
		t.Errorf("created %v, %v", m, r.Header)
	}
	s.as(t, "", "GET", "/api/users", "", "X-API-Key", key).want(200)
	s.as(t, key, "GET", "/api/users", "").want(200)
	s.as(t, key, "POST", "/api/users", `{}`).problem(403, "forbidden")
	s.as(t, key, "POST", "/api/auth/keys", `{"name":"child"}`).problem(403, "needs_a_user")
	if p := s.as(t, key, "GET", "/api/auth/me", "").want(200).json()["permissions"].([]any); len(p) != 2 {
		t.Errorf("the key may %v", p)
	}
	s.svc.Accounts.Close() // stores the last use
	list := s.as(t, admin, "GET", "/api/auth/keys", "").want(200)
	var keys []map[string]any
	if err := json.Unmarshal([]byte(list.Body), &keys); err != nil || len(keys) != 1 {
		t.Fatalf("the list is no array of one: %v\n%s", err, list.Body)
	}
	if k := keys[0]; k["key_id"] != id || k["is_active"] != true || k["last_used"] == nil || k["expires_at"] == nil || k["name"] != "site" || strings.Contains(list.Body, key) {
		t.Errorf("listed %v", k)
	}
	s.clock.add(24 * time.Hour)
	s.as(t, key, "GET", "/api/auth/me", "").problem(401, "key_expired")

	admin = s.login(t, "admin")
	id, key = s.key(t, admin, "")
	s.as(t, key, "GET", "/api/auth/me", "").want(200)
	s.as(t, s.login(t, "guest"), "DELETE", "/api/auth/keys/"+id, "").problem(404, "not_found")
	s.as(t, s.login(t, "admin-other"), "DELETE", "/api/auth/keys/"+id, "").problem(404, "not_found")
	s.as(t, admin, "DELETE", "/api/auth/keys/"+id, "").want(200)
	s.as(t, key, "GET", "/api/auth/me", "").problem(401, "key_revoked")
	s.as(t, admin, "DELETE", "/api/auth/keys/"+id, "").want(200)
	s.as(t, admin, "DELETE", "/api/auth/keys/nothing", "").problem(404, "not_found")
}

func TestKeys_ReportEveryProblem(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	got := s.as(t, s.login(t, "guest"), "POST", "/api/auth/keys", `{"expires_in_days":0,"scopes":["lead:read","lead:delete","x"]}`).problem(422, "validation_failed")
	for path, code := range map[string]string{"name": "required", "expires_in_days": "out_of_range", "scopes[1]": "beyond_your_rights", "scopes[2]": "unknown_permission"} {
		if got[path] != code {
			t.Errorf("%s: %q, want %q", path, got[path], code)
		}
	}
	if len(got) != 4 {
		t.Errorf("problems are %v", got)
	}
}

func TestKeys_ShrinkWithTheirCreator(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	_, key := s.key(t, s.login(t, "manager"), `,"scopes":["user:read","lead:read"]`)
	s.as(t, key, "GET", "/api/users", "").want(200)
	id := s.userID(t, admin, "manager")
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"viewer"}`).want(200)
	s.as(t, key, "GET", "/api/users", "").problem(403, "forbidden")
	s.as(t, key, "GET", "/api/auth/me", "").want(200)
	s.as(t, admin, "POST", "/api/users/"+id+"/deactivate", "").want(200)
	s.as(t, key, "GET", "/api/auth/me", "").problem(401, "key_revoked")
	s.as(t, admin, "POST", "/api/users/"+id+"/activate", "").want(200)
	s.as(t, key, "GET", "/api/auth/me", "").want(200)
}

func TestKeys_RepeatedRequestMakesOneKey(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	token := s.login(t, "manager")
	one := s.as(t, token, "POST", "/api/auth/keys", `{"name":"a"}`, "Idempotency-Key", "k1").want(200)
	two := s.as(t, token, "POST", "/api/auth/keys", `{"name":"a"}`, "Idempotency-Key", "k1").want(200)
	if one.Body != two.Body || two.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a repeat gave another reply:\n%s%s", one.Body, two.Body)
	}
	s.as(t, token, "POST", "/api/auth/keys", `{"name":"b"}`, "Idempotency-Key", "k1").problem(422, "validation_failed")
}

func TestPassword_ChangeEndsSessions(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	token := s.login(t, "manager")
	put := func(current, next string) *reply {
		return s.as(t, token, "PUT", "/api/auth/password", fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, current, next))
	}
	if got := put("wrong", "another password").problem(422, "validation_failed"); got["current_password"] != "wrong" {
		t.Errorf("problems are %v", got)
	}
	if got := put(testPassword, "short").problem(422, "validation_failed"); got["new_password"] != "too_short" {
		t.Errorf("problems are %v", got)
	}
	put(testPassword, "another password").want(200)
	s.as(t, token, "GET", "/api/auth/me", "").problem(401, "session_ended")
	s.as(t, "", "POST", "/api/auth/login", `{"username":"manager","password":"`+testPassword+`"}`).problem(401, "wrong_credentials")
	s.as(t, "", "POST", "/api/auth/login", `{"username":"manager","password":"another password"}`).want(200)
}

func TestLoginPage_CookieSessionIsGuardedAgainstOtherSites(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	page := s.as(t, "", "GET", "/login?next=/docs", "").want(200)
	if !strings.Contains(page.Body, `value="/docs"`) || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("login page:\n%s", page.Body)
	}
	if p := s.as(t, "", "GET", "/login?next=https://evil.example/", "").want(200); strings.Contains(p.Body, "evil") {
		t.Error("the login page leads to another site")
	}
	post := func(password string, header ...string) *reply {
		body := url.Values{"username": {"admin"}, "password": {password}, "next": {"//evil.example"}}.Encode()
		return s.as(t, "", "POST", "/login", body, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
	}
	if r := post("wrong password").want(401); !strings.Contains(r.Body, `role="alert"`) || strings.Contains(r.Body, "wrong password") {
		t.Errorf("a wrong password shows:\n%s", r.Body)
	}
	post(testPassword, "Origin", "https://evil.example").problem(403, "foreign_origin")
	r := post(testPassword, "Origin", s.URL).want(303)
	cookie := (&http.Response{Header: r.Header}).Cookies()[0]
	if r.Header.Get("Location") != "/" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure {
		t.Errorf("leads to %q with cookie %+v", r.Header.Get("Location"), cookie)
	}
	c := cookie.Name + "=" + cookie.Value
	s.as(t, "", "GET", "/api/auth/me", "", "Cookie", c).want(200)
	for name, h := range map[string][]string{
		"another site": {"Origin", "https://evil.example"}, "another site by fetch": {"Sec-Fetch-Site", "cross-site"}, "a sibling": {"Sec-Fetch-Site", "same-site"}, "unsaid": {"X-Nothing", "1"}, "hidden": {"Origin", "null"},
	} {
		if got := s.as(t, "", "POST", "/api/auth/keys", `{"name":"x"}`, append(h, "Cookie", c)...); got.Status != 403 {
			t.Errorf("a post from %s with the cookie got %d, want 403", name, got.Status)
		}
	}
	s.as(t, "", "POST", "/api/auth/keys", `{"name":"x"}`, "Cookie", c, "Origin", s.URL).want(200)
	s.as(t, cookie.Value, "GET", "/api/auth/me", "").want(401) // a cookie's token is no bearer token
	if r := post(testPassword, "Origin", s.URL, "X-Forwarded-Proto", "https"); !(&http.Response{Header: r.Header}).Cookies()[0].Secure {
		t.Error("over HTTPS the cookie is not Secure")
	}
	out := s.as(t, "", "POST", "/logout", "", "Cookie", c, "Origin", s.URL).want(303)
	if out.Header.Get("Location") != "/login" {
		t.Errorf("logout leads to %q", out.Header.Get("Location"))
	}
	s.as(t, "", "GET", "/api/auth/me", "", "Cookie", c).problem(401, "session_ended")
}

func TestSetup_WorksOnceAndOnlyWithoutUsers(t *testing.T) {
	s := newEmptyAccountServer(t, cheapHash)
	in := account.NewInstance("test")
	token, err := s.svc.Accounts.SetupLink(t.Context(), in)
	if err != nil || token == "" {
		t.Fatalf("no link: %v", err)
	}
	post := func(token, username string) *reply {
		return s.as(t, "", "POST", "/api/auth/setup", fmt.Sprintf(`{"token":%q,"username":%q,"email":"a@example.org","password":"a long password"}`, token, username))
	}
	post("lsetup_wrong", "ada").problem(401, "bad_setup_token")
	post(token.Reveal(), "").problem(422, "validation_failed")
	m := post(token.Reveal(), "ada").want(200).json()
	me := s.as(t, m["access_token"].(string), "GET", "/api/auth/me", "").want(200).json()
	if me["role"] != "admin" || me["tenant_id"] != "default" {
		t.Errorf("the first user is %v", me)
	}
	s.as(t, m["access_token"].(string), "GET", "/api/tenants", "").want(200)
	post(token.Reveal(), "eve").problem(401, "bad_setup_token")
	if again, err := s.svc.Accounts.SetupLink(t.Context(), in); err != nil || again != "" {
		t.Errorf("a link is made although a user exists: %v", err)
	}
}

func TestSetup_LinkExpires(t *testing.T) {
	s := newEmptyAccountServer(t, cheapHash)
	token, err := s.svc.Accounts.SetupLink(t.Context(), account.NewInstance("test"))
	if err != nil {
		t.Fatal(err)
	}
	if p := s.as(t, "", "GET", "/setup?token="+token.Reveal(), "").want(200); !strings.Contains(p.Body, token.Reveal()) {
		t.Error("the set-up page lost its token")
	}
	s.clock.add(25 * time.Hour)
	s.as(t, "", "POST", "/api/auth/setup", fmt.Sprintf(`{"token":%q,"username":"ada","password":"a long password"}`, token.Reveal())).problem(401, "bad_setup_token")
}

// TestAudit_EveryActLeavesItsEvent also looks for secrets in what is stored.
func TestAudit_EveryActLeavesItsEvent(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","password":"planted secret"}`).want(401)
	m := s.as(t, admin, "POST", "/api/users", `{"username":"ada","password":"planted secret","role":"guest"}`).want(200).json()
	id := m["id"].(string)
	s.as(t, admin, "PUT", "/api/users/"+id+"/role", `{"role":"analyst"}`).want(200)
	s.as(t, admin, "POST", "/api/users/"+id+"/deactivate", "").want(200)
	s.as(t, admin, "POST", "/api/users/"+id+"/activate", "").want(200)
	keyID, key := s.key(t, admin, "")
	s.as(t, admin, "DELETE", "/api/auth/keys/"+keyID, "").want(200)
	s.as(t, admin, "POST", "/api/tenants", `{"id":"acme","name":"Acme"}`).want(200)
	s.as(t, admin, "PUT", "/api/tenants/acme/plan", `{"plan":"pro"}`).want(200)
	s.as(t, admin, "POST", "/api/auth/logout", "").want(200)
	events, all := eventTypes(t, s)
	for _, want := range []event.Type{event.UserLogin, event.UserLoginFailed, event.UserCreated, event.RoleChanged, event.UserDeactivated, event.UserActivated,
		event.KeyCreated, event.KeyRevoked, event.TenantCreated, event.TenantPlanChanged, event.UserLogout} {
		if !events[want] {
			t.Errorf("no event %s was written", want)
		}
	}
	for _, planted := range []string{"planted secret", testPassword, key[11:], admin} {
		if strings.Contains(all, planted) {
			t.Errorf("the events hold a secret: %.12s…", planted)
		}
	}
}

// eventTypes are the types of the first tenant's events, and all of the events as JSON.
func eventTypes(t *testing.T, s *accountServer) (map[event.Type]bool, string) {
	t.Helper()
	es, _, err := s.st.Read(t.Context()).Events(account.SystemScope(account.FirstTenant, "test"), store.EventFilter{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	types := map[event.Type]bool{}
	for _, e := range es {
		types[e.Type] = true
	}
	b, err := json.Marshal(es)
	if err != nil {
		t.Fatal(err)
	}
	return types, string(b)
}

// TestAuth_OldClientsSendUnsetFieldsAsNull: null is the same as absent on every route of theirs.
func TestAuth_OldClientsSendUnsetFieldsAsNull(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	s.as(t, "", "POST", "/api/auth/login", `{"username":"admin","email":null,"tenant":null,"password":"`+testPassword+`"}`).want(200)
	admin := s.login(t, "admin")
	m := s.as(t, admin, "POST", "/api/auth/keys", `{"name":"old","expires_in_days":null,"scopes":null}`).want(200).json()
	if m["expires_at"] != nil || fmt.Sprint(m["scopes"]) != "[*]" {
		t.Errorf("a key with nulls is %v", m)
	}
	u := s.as(t, admin, "POST", "/api/users", `{"username":"old","email":null,"role":null,"password":"`+testPassword+`"}`).want(200).json()
	if u["role"] != "guest" || u["email"] != "" {
		t.Errorf("a user with nulls is %v", u)
	}
	s.as(t, admin, "POST", "/api/tenants", `{"name":"Old","id":null,"plan":null,"admin":null}`).want(200)
	s.as(t, admin, "POST", "/api/auth/refresh", `{"refresh_token":null}`).want(200)
	s.as(t, "", "POST", "/api/auth/login", `{"username":null,"password":null}`).problem(422, "validation_failed")
}
