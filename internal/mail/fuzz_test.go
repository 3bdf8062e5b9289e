package mail_test

import (
	"bytes"
	"errors"
	netmail "net/mail"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leadloom/internal/mail"
)

// planted is a value whose markup must never reach a message unescaped.
const planted = `<img src=x onerror="alert('planted')">`

// FuzzParseTemplate: what is taken renders within its bounds, however hostile its values, and a value's own markup never
// becomes markup of the message.
func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{`{{ lead.email }}`, `{% if lead.score > 3 %}a{% else %}b{% endif %}`, `<a href="{{ lead.company }}">`, `{{`, `{%%}`, `{{ 'a|b' | append: "c" }}`,
		`{% for t in lead.tags %}{{ t | upcase }}{% endfor %}`, `{% assign a = lead.first_name | append: lead.first_name %}{{ a }}`, `{{ lead.created_at | date: "%Y" }}`,
		`{{ lead.first_name | replace: "", "x" }}`, `<p title='{{ lead.first_name }}'>`, `<!-- {{ lead.first_name }} -->`, `{% case lead.status %}{% when "new" %}1{% endcase %}`, `{{ lead.tags | join: lead.company | slice: -1, 9999999999 }}`} {
		f.Add(s)
	}
	hostile := map[string]any{"lead": map[string]any{"first_name": planted, "company": planted, "email": planted, "score": int64(1 << 62), "status": "new", "created_at": "0001-01-01T00:00:00Z",
		"tags": []any{planted, "", nil, int64(-1), []any{}}, "custom_fields": map[string]any{"a": planted, "n": -0.5, "list": []any{strings.Repeat(planted, 900)}}}}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []mail.Format{mail.FormatHTML, mail.FormatText} {
			tpl, err := mail.ParseTemplate(s, format)
			if err != nil {
				var p *mail.Problem
				if !errors.As(err, &p) || p.Code == "" || p.Message == "" || len(p.Message) > 1000 {
					t.Fatalf("refused without a code and a short sentence: %v", err)
				}
				continue
			}
			for _, v := range []map[string]any{values(), hostile, nil} {
				out, err := tpl.Render(v)
				if err == nil && len(out) > 1<<20 {
					t.Fatalf("%q renders to %d bytes", s, len(out))
				}
				if format == mail.FormatHTML && !strings.Contains(s, "<img") && strings.Contains(out, "<img") {
					t.Fatalf("%q lets a value's markup through:\n%.300s", s, out)
				}
			}
		}
	})
}

// FuzzParseAddress: an address that is taken is one mailbox that fits on the wire, and reads the same when it is shown
// and read again.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"Anna@Example.COM", "Jürgen Groß <j@bücher.example>", "a@b.example, c@d.example", "a@b.example\r\nBcc: x@y.example", "=?utf-8?q?a=0D=0ABcc:_x?= <a@b.example>",
		"a@[127.0.0.1]", `"a b"@c.example`, "<a@b.example>", "(c) a@b.example", "a@localhost", "\u202ea@b.example", "=?utf-8?b?4oCL?= <a@b.example>", "a@xn--a.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.Addr, " \r\n<>,;:\"") || strings.Count(a.Addr, "@") != 1 || len(a.Addr) > mail.MaxAddress || a.Domain() == "" || mail.CheckHeader(a.Name) != nil {
			t.Fatalf("%q became %+v", s, a)
		}
		if again, err := mail.ParseAddress(a.Addr); err != nil || again.Addr != a.Addr {
			t.Fatalf("%q is taken as %q, which is read as %q (%v)", s, a.Addr, again.Addr, err)
		}
		if list, err := netmail.ParseAddressList(a.String()); err != nil || len(list) != 1 || list[0].Address != a.Addr {
			t.Fatalf("%q is shown as %q, which others read as %v (%v)", s, a.String(), list, err)
		}
	})
}

// FuzzTextOf: the plain part is text in lines, never much longer than its source, and holds nothing of a script.
func FuzzTextOf(f *testing.F) {
	for _, s := range []string{`<head><title>no</title></head><h1>Hi</h1><p>See <a href="https://x.example/?a=1&amp;b=2">this</a>.<br>Bye</p><ul><li>one<li>two</ul><script>evil()</script>`,
		"<a href=x><a href=y></a></a>", "<script><!--<script>", "</p></p>", "&#0;&#xD800;&lt;b&gt;", "<p\x00>", "<style>a</script>b</style>c", "\xff<td>\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := mail.TextOf(s)
		if len(out) > 4*len(s)+16 || strings.Contains(out, "\n\n\n") || strings.ContainsAny(out, "\t\f") {
			t.Fatalf("%q became %q", s, out)
		}
		if utf8.ValidString(s) && !utf8.ValidString(out) {
			t.Fatalf("%q became the broken %q", s, out)
		}
		if mail.TextOf("<script>"+strings.ReplaceAll(s, "<", "")+"</script>") != "\n" {
			t.Fatalf("%q shows in a script", s)
		}
	})
}

// FuzzClassify: each reply has a meaning, a passing one never suppresses an address, and an enhanced code in the text
// counts as one that was parsed.
func FuzzClassify(f *testing.F) {
	for code, text := range map[int]string{550: "5.1.1 no such user", 451: "4.7.1 greylisted", 552: "mailbox full", 554: "5.7.1 blocked", 0: "", 250: "ok", -1: "5.1.1.1", 599: "9.9.9", 421: "\xff"} {
		f.Add(code, text)
	}
	f.Fuzz(func(t *testing.T, code int, text string) {
		got := mail.Classify(code, "", text)
		switch got {
		case mail.ClassHard, mail.ClassSoft, mail.ClassBlock:
		default:
			t.Fatalf("%d %q is %q", code, text, got)
		}
		if (code >= 400 && code < 500 || code == 0) && got != mail.ClassSoft {
			t.Fatalf("%d %q is %q; a passing refusal is soft", code, text, got)
		}
		if again := mail.Classify(code, mail.Enhanced(text), text); again != got {
			t.Fatalf("%d %q is %q, but %q once its code is parsed", code, text, got, again)
		}
	})
}

// FuzzMessageID: only an id that we signed for the tenant is ours.
func FuzzMessageID(f *testing.F) {
	for _, s := range []string{"", "<a.b@c>", "m1.x@y", mail.MessageID([]byte("key"), "t-one", "m1", "x.example"), "<" + mail.MessageID([]byte("other"), "t-one", "m1", "x.example") + ">"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key := []byte("0123456789abcdef")
		if id, ok := mail.VerifyMessageID(key, "t-one", s); ok {
			t.Fatalf("%q is taken for our %q", s, id)
		}
		if strings.ContainsAny(s, "@<> \t\r\n\v\f\u0085\u00a0") || s == "" || strings.TrimSpace(s) != s {
			return // no id of the ledger
		}
		made := mail.MessageID(key, "t-one", s, "x.example")
		if id, ok := mail.VerifyMessageID(key, "t-one", "<"+made+">"); !ok || id != s {
			t.Fatalf("our own %q is read as %q, %v", made, id, ok)
		}
		if _, ok := mail.VerifyMessageID(key, "t-two", made); ok {
			t.Fatalf("%q counts for another tenant", made)
		}
	})
}

// FuzzMessage: whatever stands in a message, its header has the fields that were given and no others.
func FuzzMessage(f *testing.F) {
	f.Add("Hi", "Anna", "<p>a</p>", "a")
	f.Add("a\r\nBcc: x@y.example", "b\n", "", ".\r\n.")
	f.Add("=?utf-8?q?=0d=0aBcc:x?=", "\u2028", "<p>", "")
	f.Add(strings.Repeat("é ", 400), "\"q\" (c) <x@y>,", "x", strings.Repeat("z", 2000)+"\r\rFrom ")
	f.Fuzz(func(t *testing.T, subject, name, html, text string) {
		raw, err := mail.Build(&mail.Message{MessageID: "m.s@x.example", Date: time.Unix(0, 0), From: mail.Address{Name: name, Addr: "from@x.example"}, To: mail.Address{Name: name, Addr: "to@y.example"},
			Subject: subject, HTML: html, Text: text, Auto: true})
		if err != nil {
			return
		}
		m, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("others cannot read it: %v\n%q", err, raw)
		}
		for field := range m.Header {
			switch field {
			case "Date", "Mime-Version", "Message-Id", "Subject", "From", "To", "Content-Type", "Content-Transfer-Encoding", "Auto-Submitted":
			default:
				t.Fatalf("a field %q came in by the subject %q or the name %q:\n%q", field, subject, name, raw)
			}
		}
		for _, field := range []string{"From", "To"} {
			if list, err := m.Header.AddressList(field); err != nil || len(list) != 1 || !strings.HasSuffix(list[0].Address, ".example") {
				t.Fatalf("%s holds %q: %v %v", field, m.Header.Get(field), list, err)
			}
		}
		for _, line := range bytes.Split(raw, []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") && utf8.ValidString(html+text) && !strings.Contains(html+text, "\x00") {
				t.Fatalf("a line of %d bytes, or a bare line end: %q", len(line), line)
			}
		}
	})
}
