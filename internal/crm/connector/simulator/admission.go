package simulator

import (
	"crypto/subtle"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// window counts requests for the limits.
type window struct {
	second, day     int64
	inSecond, inDay int
}

// admit is authentication, rate and content type, as every service checks them.
func (s *Simulator) admit(r *http.Request, op string) *answer {
	if op == "token" {
		return nil // it judges the client itself, and takes a form
	}
	if !s.authorised(r) {
		a := refuse(http.StatusUnauthorized, "unauthorized", "", "the credentials are not accepted")
		return &a
	}
	now := s.opts.Now()
	if sec := now.Unix(); s.window.second != sec {
		s.window.second, s.window.inSecond = sec, 0
	}
	if day := now.Unix() / 86400; s.window.day != day {
		s.window.day, s.window.inDay = day, 0
	}
	s.window.inSecond++
	s.window.inDay++
	if s.opts.PerDay > 0 && s.window.inDay > s.opts.PerDay {
		a := refuse(http.StatusTooManyRequests, "daily_limit", "", "the daily limit is reached")
		a.header = map[string]string{"Retry-After": strconv.FormatInt((s.window.day+1)*86400-now.Unix(), 10)}
		return &a
	}
	if s.opts.PerSecond > 0 && s.window.inSecond > s.opts.PerSecond {
		a := refuse(http.StatusTooManyRequests, "rate_limit", "", "too many requests")
		a.header = map[string]string{"Retry-After": "1"}
		return &a
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost || r.Method == http.MethodPatch {
		if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/json" {
			a := refuse(http.StatusUnsupportedMediaType, "content_type", "", "send application/json")
			return &a
		}
	}
	return nil
}

func (s *Simulator) authorised(r *http.Request) bool {
	sent, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case s.opts.ClientID != "":
		until, known := s.tokens[sent]
		return isBearer && known && s.opts.Now().Before(until)
	case s.opts.APIKey != "":
		return isBearer && subtle.ConstantTimeCompare([]byte(sent), []byte(s.opts.APIKey)) == 1
	}
	return true
}

// token exchanges client credentials.
func (s *Simulator) token(r *http.Request, body []byte) answer {
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "client_credentials" || s.opts.ClientID == "" || id != s.opts.ClientID || secret != s.opts.Secret {
		return answer{status: http.StatusBadRequest, body: map[string]any{"error": "invalid_client"}}
	}
	life := s.opts.TokenLife
	if life == 0 {
		life = time.Hour
	}
	t := fmt.Sprintf("token-%d", s.counts["token"])
	s.tokens[t] = s.opts.Now().Add(life)
	return answer{status: 200, body: map[string]any{"access_token": t, "token_type": "bearer", "expires_in": int(life.Seconds())}}
}

// ExpireTokens makes every token handed out so far unknown.
func (s *Simulator) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}
