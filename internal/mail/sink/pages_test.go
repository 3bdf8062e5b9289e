package sink_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
)

const hostile = `<script>alert(1)</script><img src=x onerror=alert(2)>"'`

func get(t *testing.T, url string) (string, http.Header) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %d %v", url, res.StatusCode, err)
	}
	return string(b), res.Header
}

// TestPages_HostileMessageCannotAct: names, subject and bodies are shown as text; the HTML part is served for a
// sandboxed frame only.
func TestPages_HostileMessageCannotAct(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, err := sink.Start("127.0.0.1:0", sink.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sender, err := mail.NewSender(mail.Settings{Host: "127.0.0.1", Port: s.Addr().Port, TLS: mail.TLSNone, From: "a@b.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		o := sender.Send(context.Background(), &mail.Message{MessageID: "m@b.example", Date: time.Now(), From: mail.Address{Name: hostile, Addr: "a@b.example"},
			To: mail.Address{Name: hostile, Addr: "c@d.example"}, Subject: hostile, HTML: "<p>" + hostile + "</p>", Text: hostile})
		if o.Result != mail.Sent {
			t.Fatal(o)
		}
		web := httptest.NewServer(s.Handler("/demo/mail/"))
		defer web.Close()
		list, h := get(t, web.URL+"/demo/mail/")
		name := s.Entries()[0].Name
		page, _ := get(t, web.URL+"/demo/mail/m/"+name)
		for what, body := range map[string]string{"list": list, "message": page} {
			if !strings.Contains(body, "&lt;script&gt;alert(1)") || strings.Contains(body, "<script>") || strings.Contains(body, "<img") {
				t.Errorf("the %s page does not show the hostile text as text:\n%s", what, body)
			}
		}
		if !strings.Contains(page, `<iframe sandbox `) || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("no sandboxed frame, or no policy: %v", h)
		}
		body, h := get(t, web.URL+"/demo/mail/m/"+name+"/html")
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(body, hostile) || !strings.HasPrefix(policy, "sandbox;") || strings.Contains(policy, "script") || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("the HTML part comes with the policy %q", policy)
		}
		if raw, h := get(t, web.URL+"/demo/mail/m/"+name+"/raw"); !strings.HasPrefix(h.Get("Content-Type"), "text/plain") || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(raw, "X-Sink-To: c@d.example") {
			t.Errorf("source: %v\n%s", h, raw)
		}
		for _, bad := range []string{"nothing.eml", "..%2f..%2fetc%2fpasswd", "%2e%2e"} {
			if res, err := http.Get(web.URL + "/demo/mail/m/" + bad + "/raw"); err != nil || res.StatusCode != 404 {
				t.Errorf("%s: %v %v, want 404", bad, res, err)
			} else {
				res.Body.Close()
			}
		}
	}
}

func TestSink_KeepsMessagesOverARestart(t *testing.T) {
	dir := t.TempDir()
	s, err := sink.Start("127.0.0.1:0", sink.Options{Dir: dir, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := mail.NewSender(mail.Settings{Host: "127.0.0.1", Port: s.Addr().Port, TLS: mail.TLSNone, From: "a@b.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"one@d.example", "two@d.example", "three@d.example"} {
		if o := sender.Send(context.Background(), &mail.Message{MessageID: to, Date: time.Now(), From: mail.Address{Addr: "a@b.example"}, To: mail.Address{Addr: to}, Subject: "s", Text: "t"}); o.Result != mail.Sent {
			t.Fatal(o)
		}
	}
	sender.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = sink.Start("127.0.0.1:0", sink.Options{Dir: dir, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if e := s.Entries(); len(e) != 2 || e[0].To != "three@d.example" || e[1].To != "two@d.example" || s.Total() != 0 {
		t.Errorf("after a restart: %+v and total %d, want the newest two and 0 since the start", e, s.Total())
	}
	if _, err := sink.Start("0.0.0.0:0", sink.Options{}); err == nil {
		t.Error("the sink listens beyond this machine")
	}
}
