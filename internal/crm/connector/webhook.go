package connector

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/outbound"
)

// SignatureHeader is "t=<unix seconds>,v1=<hex HMAC-SHA256 of t.body>".
const SignatureHeader = "X-Signature"

// webhookTolerance is how old or new a signed time may be.
const webhookTolerance = 5 * time.Minute

// Sign makes the signature header of a webhook in the generic contract.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(signature(secret, t, body))
}

func signature(secret, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// Webhook implements Connector: it verifies the raw bytes and answers which records to fetch. Whoever calls it sees to
// it that an event id counts once.
func (g *generic) Webhook(h http.Header, body []byte) ([]Change, error) {
	refuse := func(code, msg string) ([]Change, error) {
		return nil, &Error{Class: ClassRecord, Code: code, Message: msg}
	}
	key := g.env.Secrets["webhook_secret"].Reveal()
	var t, v1 string
	for part := range strings.SplitSeq(h.Get(SignatureHeader), ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && k == "t" {
			t = v
		} else if ok && k == "v1" {
			v1 = v
		}
	}
	sent, err := hex.DecodeString(v1)
	if key == "" || err != nil || !hmac.Equal(sent, signature(key, t, body)) {
		return refuse("bad_signature", "The signature does not fit the body.")
	}
	sec, err := strconv.ParseInt(t, 10, 64)
	if age := g.env.Now().Sub(time.Unix(sec, 0)); err != nil || age > webhookTolerance || age < -webhookTolerance {
		return refuse("stale", "The webhook was signed more than five minutes ago.")
	}
	var m struct {
		EventID string `json:"event_id"`
		Records []struct {
			Key string `json:"external_id"`
			ID  string `json:"id"`
		} `json:"records"`
	}
	if err := outbound.DecodeJSON(body, &m); err != nil || m.EventID == "" {
		return refuse("malformed", "The webhook is not the JSON of the contract.")
	}
	out := make([]Change, 0, len(m.Records))
	for _, r := range m.Records {
		out = append(out, Change{EventID: m.EventID, Key: clip(r.Key), ID: clip(r.ID)})
	}
	return out, nil
}
