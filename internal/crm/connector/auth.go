package connector

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"time"

	"leadloom/internal/outbound"
	"leadloom/internal/secret"
)

// needs are the credentials without which a way of authorising makes no sense.
var needs = map[string][]string{"bearer": {"api_key"}, "header": {"api_key"}, "basic": {"username"}, "oauth2": {"client_id", "client_secret"}}

// authorise puts the credentials into the headers; used is the token that was put there, for oauth2.
func (g *generic) authorise(ctx context.Context, h http.Header) (used secret.Masked, err error) {
	key := g.env.Secrets["api_key"]
	kind := g.env.Settings.Auth
	if kind == "" && key != "" {
		kind = "bearer"
	}
	for _, name := range needs[kind] {
		if g.env.Secrets[name] == "" {
			return "", &Error{Class: ClassReauth, Code: "credentials_missing", Message: "The connection has no " + name + ", which its way of authorising needs: enter it."}
		}
	}
	switch kind {
	case "bearer":
		h.Set("Authorization", "Bearer "+key.Reveal())
	case "header":
		h.Set(g.env.Settings.AuthHeader, key.Reveal())
	case "basic":
		pair := g.env.Secrets["username"].Reveal() + ":" + g.env.Secrets["password"].Reveal()
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case "oauth2":
		if used, err = g.token(ctx); err != nil {
			return "", err
		}
		h.Set("Authorization", "Bearer "+used.Reveal())
	}
	return used, nil
}

func (m *Memory) dropToken(used secret.Masked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.token == used { // another caller may have renewed it already
		m.token = ""
	}
}

// token is the kept one, or a new one by client credentials. The lock makes concurrent callers share one renewal.
func (g *generic) token(ctx context.Context) (secret.Masked, error) {
	m := g.env.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.token != "" && g.env.Now().Before(m.tokenUntil) {
		return m.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if g.env.Settings.Scope != "" {
		form.Set("scope", g.env.Settings.Scope)
	}
	pair := url.QueryEscape(g.env.Secrets["client_id"].Reveal()) + ":" + url.QueryEscape(g.env.Secrets["client_secret"].Reveal())
	r, err := g.env.Client.Do(ctx, outbound.Request{Method: http.MethodPost, URL: g.env.Settings.TokenURL, Route: "POST token", Body: []byte(form.Encode()), MaxBody: 1 << 20, Timeout: g.env.Settings.timeout(),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}}})
	if err != nil {
		return "", callError(err)
	}
	if r.Status == http.StatusBadRequest || r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		return "", &Error{Class: ClassReauth, Code: "token_refused", Message: "The token service does not accept the client's credentials: enter them again."}
	}
	if e := g.refusal(r, false); e != nil {
		return "", e
	}
	var reply struct {
		Token     string `json:"access_token"`
		ExpiresIn int64  `json:"expires_in"`
	}
	if err := outbound.DecodeJSON(r.Body, &reply); err != nil || reply.Token == "" {
		return "", &Error{Class: ClassConfig, Code: "bad_reply", Message: "The token service did not answer with a token: check token_url."}
	}
	life := time.Duration(reply.ExpiresIn) * time.Second
	if life <= 0 {
		life = time.Hour
	}
	m.token, m.tokenUntil = secret.Masked(reply.Token), g.env.Now().Add(life-min(life/10, time.Minute))
	return m.token, nil
}
