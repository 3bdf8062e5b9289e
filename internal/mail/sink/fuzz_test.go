package sink

import "testing"

// FuzzParse shows any message: no panic, and never more than was received by much, however its parts are wrapped.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"Subject: =?utf-8?q?a?=\r\nMessage-Id: <a@b>\r\n\r\nhi", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--",
		"Content-Type: multipart/mixed; boundary=\r\n\r\n----", "Content-Type: text/plain; charset=nope\r\nContent-Transfer-Encoding: base64\r\n\r\n!!", "", "\r\n", ":\r\n\r\n", "A: =?x?b?//?=\r\n\r\n\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := parse(raw)
		if len(p.text)+len(p.html) > 8*len(raw)+64 {
			t.Fatalf("%d bytes are shown as %d", len(raw), len(p.text)+len(p.html))
		}
		if e := describe("n", raw); e.Size != len(raw) || e.Name != "n" {
			t.Fatalf("%+v", e)
		}
	})
}
