package httpapi

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

const (
	sessionCookie    = "leadloom_session"
	maxCredentialLen = 4096
)

// credentials turns a request's token, key or session into its scope. A header wins over a cookie, and a header that
// is wrong is refused even when a cookie would do: the caller meant it.
func (a *API) credentials(r *http.Request) (account.Scope, error) {
	token, err := headerCredential(r)
	if err != nil {
		return account.Scope{}, err
	}
	if token != "" {
		return a.Services.Accounts.AuthenticateToken(r.Context(), token)
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" {
		return account.Scope{}, fault.Unauthorized("no_credential", "Send Authorization: Bearer <token or API key>, or X-API-Key.")
	}
	if !safeMethod(r.Method) && !sameOrigin(r, false) {
		return account.Scope{}, errCrossSite()
	}
	return a.Services.Accounts.AuthenticateCookie(r.Context(), c.Value)
}

// headerCredential is the token or key of the Authorization or X-API-Key header; "" when there is neither.
func headerCredential(r *http.Request) (string, error) {
	token := strings.TrimSpace(r.Header.Get("X-API-Key"))
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		token = strings.TrimSpace(rest)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", fault.Unauthorized("bad_credential", "Send the header as Authorization: Bearer <token or API key>.")
		}
	}
	if len(token) > maxCredentialLen {
		return "", fault.Unauthorized("bad_token", "This is no access token of this installation. Log in again.")
	}
	return token, nil
}

func safeMethod(m string) bool {
	return m == http.MethodGet || m == http.MethodHead || m == http.MethodOptions
}

// sameOrigin reports whether a browser sent the request from one of our own pages. unsaid is the verdict on a request
// that says nothing about where it comes from; browsers always say it with a form or a script.
func sameOrigin(r *http.Request, unsaid bool) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		origin = r.Header.Get("Referer")
	}
	if origin == "" {
		return unsaid
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func errCrossSite() error {
	return &fault.Error{Kind: fault.KindForbidden, Code: "foreign_origin", Message: "A browser sent this from a page of another site. Open Leadloom itself and do it there."}
}

// client is who is at the other end of the connection.
type client struct {
	address string // without port
	device  string // User-Agent
	secure  bool   // the client's own connection is encrypted
}

// clientOf looks behind trusted proxies: the client is the last address in X-Forwarded-For that none of them has.
func (a *API) clientOf(r *http.Request) client {
	c := client{address: r.RemoteAddr, device: r.UserAgent(), secure: r.TLS != nil}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return c
	}
	at := ap.Addr().Unmap()
	c.address = at.String()
	if !a.trusted(at) {
		return c
	}
	c.secure = c.secure || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		c.address = hop.Unmap().String()
		if !a.trusted(hop.Unmap()) {
			break
		}
	}
	return c
}

func (a *API) trusted(ip netip.Addr) bool {
	for _, p := range a.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
