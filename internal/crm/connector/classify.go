package connector

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"leadloom/internal/outbound"
)

// refusal is nil for a 2xx reply, else its classification with the CRM's own words.
func (g *generic) refusal(r *outbound.Response, ofRecord bool) *Error {
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	e := classify(r.Status, r.Header, g.env.Now(), ofRecord)
	if r.Status >= 300 && r.Status < 400 {
		return e
	}
	var body any
	if outbound.DecodeJSON(r.Body, &body) != nil {
		return e
	}
	m, ok := body.(map[string]any)
	if !ok {
		return e
	}
	first := m
	if list, ok := at(m, or(g.env.Settings.ErrorsField, "errors")).([]any); ok && len(list) > 0 {
		if inner, ok := list[0].(map[string]any); ok {
			first = inner
		}
	}
	if c := g.name(text(first["code"])); c != "" {
		e.Code = c
	}
	if f := g.name(or(text(first["field"]), text(first["path"]))); f != "" {
		e.Field = f
	}
	said := g.quote(or(text(first["message"]), or(text(m["detail"]), text(m["message"]))))
	if said != "" && e.Class != ClassReauth { // that text says what to do
		e.Message = said
	}
	return unknownField(e)
}

// quote makes a text of the CRM fit to be kept: redacted, and without this connection's own credentials, however short
// they are.
func (g *generic) quote(s string) string { return outbound.Redact(g.unsecret(s)) }

// name is quote for a code or a field: one that looks like a name keeps its full length.
func (g *generic) name(s string) string {
	if s = clip(g.unsecret(s)); !nameLike.MatchString(s) {
		s = outbound.Redact(s)
	}
	return s
}

var nameLike = regexp.MustCompile(`^[A-Za-z0-9_.:$\[\]-]{1,80}$`)

func (g *generic) unsecret(s string) string {
	for _, v := range g.env.Secrets {
		if len(v) >= 4 {
			s = strings.ReplaceAll(s, v.Reveal(), "…")
		}
	}
	return s
}

// classify is the table of the generic contract. ofRecord says whether a refusal can be the record's own fault.
func classify(status int, h http.Header, now time.Time, ofRecord bool) *Error {
	e := &Error{Code: fmt.Sprintf("http_%d", status), Message: fmt.Sprintf("The CRM answered with status %d.", status)}
	switch {
	case status == http.StatusTooManyRequests:
		e.Class, e.Code, e.Message = ClassThrottled, "too_many_requests", "The CRM asks us to slow down."
		e.After, _ = outbound.RetryAfter(h, now)
	case status == http.StatusLoopDetected:
		e.Class, e.Code, e.Message = ClassSelfLoop, "self_loop", "The address leads back to this server or round a ring of servers."
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		e.Class, e.Message = ClassRetry, fmt.Sprintf("The CRM failed with status %d. It is tried again.", status)
		e.After, _ = outbound.RetryAfter(h, now)
	case status == http.StatusUnauthorized:
		e.Class, e.Code, e.Message = ClassReauth, "unauthorized", "The CRM does not accept the credentials: enter them again."
	case status == http.StatusGone && ofRecord:
		e.Class, e.Code, e.Message = ClassGone, "gone", "The record was deleted in the CRM."
	case status >= 300 && status < 400:
		e.Class, e.Code, e.Message = ClassConfig, "redirect", "The CRM redirects"+redirectHost(h)+": enter the final address; redirects are not followed."
	case status == http.StatusForbidden:
		e.Class, e.Message = ClassConfig, "The CRM forbids this: check the rights of the credentials."
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusUnsupportedMediaType:
		e.Class, e.Message = ClassConfig, fmt.Sprintf("The CRM does not know this route (status %d): check the address and the paths.", status)
	case ofRecord && status >= 400:
		e.Class, e.Message = ClassRecord, fmt.Sprintf("The CRM refused this lead with status %d.", status)
	default:
		e.Class = ClassConfig
	}
	return e
}

func redirectHost(h http.Header) string {
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return " to " + outbound.Redact(u.Hostname())
}

// at follows a path in dots through objects.
func at(v any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[part]
	}
	return v
}

// text is a JSON scalar as text; empty for null, lists and objects.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

// clip bounds a foreign identifier: no control characters, at most 255 bytes of whole characters.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "")
	}
	return s
}

// ownURL keeps a link only when it stays at the CRM's own origin: others could send people anywhere.
func (g *generic) ownURL(raw string) string {
	if raw == "" || len(raw) > 2000 {
		return ""
	}
	u, err := url.Parse(raw)
	base, err2 := url.Parse(g.base)
	if err != nil || err2 != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) || u.User != nil {
		return ""
	}
	return u.String()
}

func digest(parts []string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:])
}
