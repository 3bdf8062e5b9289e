package outbound

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDecodeJSON: what is read of another server is text without NUL, bounded in depth, keeps its digits, and reads the same
// when it is written again.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"results":[{"external_id":"a"}]}`, `{"a":12345678901234567890.10}`, "\xff", `"\ud800"`, `{} {}`, `[1]]`, `{"a":"` + "\x00" + `"}`, `"\u0000"`, `"\\u0000"`, strings.Repeat("[", 65) + strings.Repeat("]", 65), `{"a":1,"a":2}`, `"[[["`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if err := DecodeJSON(b, &v); err != nil {
			if e, ok := err.(*Error); !ok || e.Code != CodeBadReply || strings.Contains(e.Message, string(b)) && len(b) > 9 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		text, err := json.Marshal(v)
		if err != nil || !utf8.Valid(text) || strings.Contains(string(text), `\u0000`) && !strings.Contains(string(b), `\\u0000`) {
			t.Fatalf("%q is read as %q (%v)", b, text, err)
		}
		var again any
		if err := DecodeJSON(text, &again); (err != nil || !reflect.DeepEqual(v, again)) && !strings.Contains(string(text), `\u0000`) {
			t.Fatalf("%q is read as %q, then as %v (%v)", b, text, again, err)
		}
	})
}

// FuzzRetryAfter: nobody makes us wait for ever, or into the past.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "-1", "1e9", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 1026 07:28:00 GMT", " 7 ", "7, 8", "\x00"} {
		f.Add(s, int64(1_774_000_000))
	}
	f.Fuzz(func(t *testing.T, s string, now int64) {
		d, ok := RetryAfter(http.Header{"Retry-After": {s}}, time.Unix(now, 0))
		if d < 0 || d > MaxRetryAfter || !ok && d != 0 {
			t.Fatalf("%q is %s, %v", s, d, ok)
		}
	})
}

var address = regexp.MustCompile(`[a-zA-Z0-9]+@[a-zA-Z0-9]+\.[a-zA-Z]+`)

// FuzzRedact: what is kept of foreign words is one short line without addresses, and redacting it again changes nothing
// that counts.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"the address ada@example.org is wrong", "token abcdefghijklmnopqrstuvwxyz0123456789", "\x1b[31m\u202e\u200b", "call +49 170 1234567", strings.Repeat("a@b.cd ", 3000), "\xff\xfe", "a\u200b@b.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Redact(s)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > MaxStoredText || strings.ContainsAny(got, "\r\n\t\x00\x1b\u202e") {
			t.Fatalf("%q is kept as %q", s, got)
		}
		if m := address.FindString(got); m != "" {
			t.Fatalf("%q is kept as %q, with %q", s, got, m)
		}
	})
}

// FuzzAddress: whatever form an address has, one that is let out is public, and a mapped form of an inner one is not.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:443", "[::1]:443", "[::ffff:10.0.0.1]:443", "[64:ff9b::a00:1]:443", "[2002:7f00:1::]:443", "169.254.169.254:443", "[fe80::1%eth0]:443", "8.8.8.8:443", "[2606:4700::1]:8443", "0.0.0.0:443"} {
		f.Add(s)
	}
	c := New(Policy{})
	defer c.Close()
	f.Fuzz(func(t *testing.T, s string) {
		ap, err := netip.ParseAddrPort(s)
		if err != nil || !c.addressAllowed(ap) {
			return
		}
		a := ap.Addr().Unmap().WithZone("")
		if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() {
			t.Fatalf("%s is let out", s)
		}
	})
}

// FuzzCheckURL: an address that is taken is dialled as it is read, over TLS, with nothing of a user in it.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://crm.example.org/a", "http://x.example", "https://u:p@x.example/", "https://x.example:22/", "https://[::1]/", "https://0x7f.1/", "https://x.example\\@evil.example/", "https://x.example/#a", "//x.example", "https://x.example./", "https:///a", "https://1.2.3.4.5/"} {
		f.Add(s)
	}
	c := New(Policy{})
	defer c.Close()
	f.Fuzz(func(t *testing.T, s string) {
		u, err := c.CheckURL(s)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, "\r\n\t\x00\\@") {
			t.Fatalf("%q is taken: %+v", s, u)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !c.addressAllowed(netip.AddrPortFrom(a, 443)) {
			t.Fatalf("%q is taken, and may not be dialled", s)
		}
		if r, err := http.NewRequest(http.MethodGet, u.String(), nil); err != nil || r.URL.Hostname() != u.Hostname() {
			t.Fatalf("%q is taken as %q, but makes no such request: %v", s, u, err)
		}
	})
}

// FuzzCheckIncoming: a mark of passage is refused for a loop, or counts its servers.
func FuzzCheckIncoming(f *testing.F) {
	f.Add("a", "1")
	f.Add("me", "")
	f.Add("a, me", "-1")
	f.Add("\x00", "99999999999999999999")
	f.Fuzz(func(t *testing.T, from, hops string) {
		n, err := CheckIncoming(http.Header{"X-Leadloom-From": {from}, "X-Leadloom-Hops": {hops}}, "me")
		if err == nil && (n < 0 || n > MaxHops || from == "me") {
			t.Fatalf("%q after %q hops counts %d", from, hops, n)
		}
	})
}
