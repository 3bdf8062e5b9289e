package outbound

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"leadloom/internal/fault"
)

func testClient(t *testing.T, p Policy, servers ...*httptest.Server) *Client {
	t.Helper()
	c := New(p)
	t.Cleanup(c.Close)
	for _, s := range servers {
		c.AllowTarget(netip.MustParseAddrPort(s.Listener.Addr().String()))
	}
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func wantCode(t *testing.T, err error, code string) *Error {
	t.Helper()
	if !HasCode(err, code) {
		t.Fatalf("error is %v; want code %s", err, code)
	}
	return err.(*Error)
}

func TestAddressAllowed_DeniesEveryFormOfInsideAddresses(t *testing.T) {
	c := New(Policy{AllowRanges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}})
	for _, a := range []string{
		"0.0.0.0", "10.2.0.1", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "192.168.1.1", "198.18.0.1", "224.0.0.1",
		"255.255.255.255", "::", "::1", "fc00::1", "fe80::1%eth0", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.2.0.1", "64:ff9b::7f00:1",
		"64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a02:1::1", "::7f00:1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "203.0.113.9", "192.0.2.1",
		"64:ff9b:1::a9fe:a9fe", "64:ff9b::a00:1", "2002:a9fe:a9fe::", "2002:c0a8:101::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:2::1",
		"3fff::1", "100::1", "fec0::1", "fd12:3456::1", "5f00::1", "4000::1", "::ffff:0:7f00:1", "::ffff:169.254.169.254", "ff05::1", "fe80::1", "192.0.0.8", "192.88.99.1",
		"198.19.255.255", "198.51.100.7", "172.31.255.255", "100.127.255.255", "239.255.255.250", "0.1.2.3", "127.0.0.1",
	} {
		if c.addressAllowed(netip.AddrPortFrom(netip.MustParseAddr(a), 443)) {
			t.Errorf("%s may be called", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "2606:4700:4700::1111", "10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::101:101", "2002:101:101::1", "2a00:1450:4001::1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255"} {
		if !c.addressAllowed(netip.AddrPortFrom(netip.MustParseAddr(a), 443)) {
			t.Errorf("%s may not be called", a)
		}
	}
}

func TestCheckURL_RefusesWithAdvice(t *testing.T) {
	c := New(Policy{AllowPorts: []int{9443}})
	for raw, code := range map[string]string{
		"": CodeBadURL, "crm.example.com": CodeBadURL, "ftp://x.example": CodeBadURL, "http://crm.example.com": CodeBadURL,
		"https://u:p@crm.example": CodeBadURL, "https://crm.example/#x": CodeBadURL, "https://crm.example:22/": CodeBadURL, "https://crm.example:99999/": CodeBadURL,
		"https://10.0.0.1/": CodeAddress, "https://[::1]/": CodeAddress, "https://localhost/": CodeAddress, "http://127.0.0.1:8080/": CodeBadURL,
		"https://2130706433/health": "", // resolved later, and judged at the dial
		"https://crm.example.com":   "", "https://crm.example.com:8443/a?b=c": "", "https://crm.example.com:9443/": "",
	} {
		_, err := c.CheckURL(raw)
		if code == "" && err != nil {
			t.Errorf("%q: %v; want allowed", raw, err)
		}
		if code != "" && !HasCode(err, code) {
			t.Errorf("%q: %v; want %s", raw, err, code)
		}
	}
}

func TestDo_JudgesTheResolvedAddress(t *testing.T) {
	hit := false
	s := serve(t, func(http.ResponseWriter, *http.Request) { hit = true })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	p, _ := netip.ParseAddrPort("127.0.0.1:" + port)
	c := New(Policy{AllowPorts: []int{int(p.Port())}})
	defer c.Close()
	// A name of this machine's own: it passes the check of the text and must fail at the dial.
	_, err := c.Do(context.Background(), Request{Method: "GET", URL: "https://ip6-localhost:" + port + "/"})
	if err == nil || hit {
		t.Fatalf("a name that resolves to loopback was called (err %v, hit %v)", err, hit)
	}
}

func TestDo_MarksCallsAndDropsForbiddenHeaders(t *testing.T) {
	var got http.Header
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header.Clone(); got.Set("Host", r.Host) })
	c := testClient(t, Policy{Instance: "me", UserAgent: "Leadloom/test"}, s)
	_, err := c.Do(context.Background(), Request{Method: "POST", URL: s.URL, Hops: 1, Body: []byte("{}"),
		Header: http.Header{"Host": {"evil"}, "X-Leadloom-From": {"someone"}, "X-Custom": {"yes"}, "Transfer-Encoding": {"x"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{HeaderFrom: "me", HeaderHops: "2", "User-Agent": "Leadloom/test", "X-Custom": "yes"} {
		if got.Get(name) != want {
			t.Errorf("%s = %q; want %q", name, got.Get(name), want)
		}
	}
	if got.Get("X-Request-Id") == "" || got.Get("Host") == "evil" {
		t.Errorf("request id %q, host %q: every call has an id and its own host", got.Get("X-Request-Id"), got.Get("Host"))
	}
}

func TestDo_RecognisesItself(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set(HeaderInstance, r.URL.Query().Get("id")) })
	c := testClient(t, Policy{Instance: "me"}, s)
	_, err := c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "?id=me"})
	wantCode(t, err, CodeSelfLoop)
	r, err := c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "?id=other"})
	if err != nil || r.Peer != "other" {
		t.Fatalf("another server: %+v, %v; want peer other", r, err)
	}
	if r, err = c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "?id=" + strings.Repeat("a<b>", 100)}); err != nil || len(r.Peer) > 64 || strings.Contains(r.Peer, "<") {
		t.Fatalf("a hostile instance header: %+v, %v; want it cut to what an id is made of", r, err)
	}
	_, err = c.Do(context.Background(), Request{Method: "GET", URL: s.URL, Hops: MaxHops})
	if e := wantCode(t, err, CodeSelfLoop); e.Sent {
		t.Error("a call in a ring was sent")
	}
}

func TestDo_NeverFollowsRedirects(t *testing.T) {
	hits := 0
	target := serve(t, func(http.ResponseWriter, *http.Request) { hits++ })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	c := testClient(t, Policy{}, s, target)
	r, err := c.Do(context.Background(), Request{Method: "POST", URL: s.URL, Body: []byte("x")})
	if err != nil || r.Status != 307 || hits != 0 {
		t.Fatalf("status %v, err %v, %d hits at the target; want 307 and none", r, err, hits)
	}
}

func TestDo_CapsTimeAndSize(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-release
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.CopyN(z, zeros{}, 8<<20)
			_ = z.Close()
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		case "/error":
			w.WriteHeader(500)
			_, _ = io.CopyN(w, zeros{}, 1<<20)
		}
	})
	c := testClient(t, Policy{}, s)
	_, err := c.Do(context.Background(), Request{Method: "POST", URL: s.URL + "/hang", Timeout: 30 * time.Millisecond})
	if e := wantCode(t, err, CodeTimeout); !e.Sent {
		t.Error("a call that hung after sending is not marked as sent")
	}
	_, err = c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "/bomb", MaxBody: 1 << 20})
	wantCode(t, err, CodeTooLarge)
	_, err = c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "/cut"})
	if e := wantCode(t, err, CodeNetwork); !e.Sent {
		t.Error("a reply that broke off is not marked as sent")
	}
	r, err := c.Do(context.Background(), Request{Method: "GET", URL: s.URL + "/error"})
	if err != nil || len(r.Body) != MaxErrorBody {
		t.Fatalf("a huge error page: %v; want it cut at %d", err, MaxErrorBody)
	}
	dead := serve(t, nil)
	dead.Close()
	c.AllowTarget(netip.MustParseAddrPort(dead.Listener.Addr().String()))
	_, err = c.Do(context.Background(), Request{Method: "GET", URL: dead.URL})
	if e := wantCode(t, err, CodeNetwork); e.Sent || strings.Contains(e.Message, "127.0.0.1:") {
		t.Errorf("a dead host: sent %v, %q", e.Sent, e.Message)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestDecodeJSON_RefusesHostileReplies(t *testing.T) {
	for name, body := range map[string]string{
		"html": "<html>", "cut": `{"a":`, "bad utf-8": "{\"a\":\"\xff\"}", "nul": `{"a":"\u0000"}`, "two values": `{} {}`, "empty": "",
		"deep": strings.Repeat("[", 1_000_000),
	} {
		var v any
		if err := DecodeJSON([]byte(body), &v); !HasCode(err, CodeBadReply) {
			t.Errorf("%s: %v; want bad_reply", name, err)
		}
	}
	var v map[string]any
	if err := DecodeJSON([]byte(`{"n":9007199254740993,"s":"[[[[\"{"}`), &v); err != nil {
		t.Fatal(err)
	}
	if n, ok := v["n"].(interface{ String() string }); !ok || n.String() != "9007199254740993" {
		t.Errorf("a number above 2^53 became %v", v["n"])
	}
}

func TestRedact_HidesPeopleAndTokens(t *testing.T) {
	got := Redact("bad\x00 value\u202e for anna.smith@example.com with token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.abc <b>\n" + strings.Repeat("é ", 2000))
	for text, want := range map[string]string{"code REQUIRED_FIELD_MISSING_HERE at crm-api.some-long-name.example": "code REQUIRED_FIELD_MISSING_HERE at crm-api.some-long-name.example",
		"call +49 (170) 123-4567 now": "call +… now", "on 2026-11-26 10:00 id 12345": "on 2026-11-26 10:00 id 12345", "key AbCdEfGhIjKlMnOpQrStUvWxYz": "key …"} {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q; want %q", text, got, want)
		}
	}
	for _, leak := range []string{"anna", "example.com", "eyJ", "\x00", "\u202e", "\n"} {
		if strings.Contains(got, leak) {
			t.Errorf("%q is left in %q", leak, got)
		}
	}
	if n := len([]rune(got)); n > MaxStoredText {
		t.Errorf("%d runes; want at most %d", n, MaxStoredText)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"7": 7 * time.Second, "999999": time.Hour, now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got, ok := RetryAfter(http.Header{"Retry-After": {text}}, now); !ok || got != want {
			t.Errorf("%q = %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "soon", "-1"} {
		if _, ok := RetryAfter(http.Header{"Retry-After": {text}}, now); ok {
			t.Errorf("%q was understood", text)
		}
	}
}

func TestCheckIncoming(t *testing.T) {
	if hops, err := CheckIncoming(http.Header{HeaderFrom: {"other"}, HeaderHops: {"2"}}, "me"); err != nil || hops != 2 {
		t.Errorf("a peer: %d, %v; want 2 hops, no error", hops, err)
	}
	if _, err := CheckIncoming(http.Header{HeaderFrom: {"me"}, HeaderHops: {"1"}}, "me"); !fault.IsKind(err, fault.KindLoop) {
		t.Errorf("our own call: %v; want a loop", err)
	}
	if _, err := CheckIncoming(http.Header{HeaderFrom: {"other"}, HeaderHops: {"4"}}, "me"); !fault.IsKind(err, fault.KindLoop) {
		t.Errorf("a ring: %v; want a loop", err)
	}
	if _, err := CheckIncoming(http.Header{}, ""); err != nil {
		t.Errorf("a client: %v", err)
	}
}

func TestSelf_PointsAtItselfInEveryForm(t *testing.T) {
	everywhere := Self{Listen: []string{":8080"}, PublicURL: "https://leads.example.com"}
	local := Self{Listen: []string{"127.0.0.1:8080"}}
	for _, raw := range []string{"http://localhost:8080", "http://127.0.0.1:8080/api", "http://0.0.0.0:8080", "http://[::1]:8080", "http://[::ffff:127.0.0.1]:8080", "http://LOCALHOST.:8080"} {
		u, _ := url.Parse(raw)
		for name, s := range map[string]Self{"everywhere": everywhere, "local": local} {
			if _, yes := s.Points(u); !yes {
				t.Errorf("%s with %s is not seen as this server", raw, name)
			}
		}
	}
	pub, _ := url.Parse("https://Leads.Example.com:443/api/leads")
	if _, yes := everywhere.Points(pub); !yes {
		t.Error("the public address is not seen as this server")
	}
	for _, raw := range []string{"http://127.0.0.1:8081", "https://crm.example.com", "https://leads.example.com:8443", "https://10.255.255.1"} {
		u, _ := url.Parse(raw)
		if why, yes := everywhere.Points(u); yes {
			t.Errorf("%s is taken for this server: %s", raw, why)
		}
	}
}
