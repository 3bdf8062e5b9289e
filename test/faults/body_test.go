package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A body that does not arrive is answered with 408 body_too_slow, however busily it drips, and its connection ends; an
// upload that is slow and within its time is taken; others are served meanwhile.
func TestSlowBody_Is408AndNobodyElseWaits(t *testing.T) {
	if !everything() {
		t.Skip("takes the half minute that a body may take: make faults")
	}
	s := serve(t, "--data", t.TempDir())
	open := func(length int) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "POST /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", s.Token, length)
		return c
	}
	const text = `{"email":"slow@example.com","last_name":"Slow"}`
	silent, dripping, slow := open(1000), open(1000), open(len(text))
	began := time.Now()
	go func() {
		for { // until the server has had enough
			if _, err := dripping.Write([]byte(" ")); err != nil {
				return
			}
			<-time.After(100 * time.Millisecond)
		}
	}()
	go func() {
		for i := range text {
			if _, err := slow.Write([]byte{text[i]}); err != nil {
				return
			}
			<-time.After(200 * time.Millisecond) // ten seconds in all
		}
	}()
	answer := func(what string, c net.Conn) (status int, code string) {
		t.Helper()
		lines := bufio.NewReader(c)
		res, err := http.ReadResponse(lines, nil)
		if err != nil {
			t.Fatalf("%s: no answer after %s: %v", what, time.Since(began), err)
		}
		defer res.Body.Close()
		var b struct{ Code string }
		if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
			t.Errorf("%s: %d with a body that is none: %v", what, res.StatusCode, err)
		}
		return res.StatusCode, b.Code
	}
	if status, code := answer("the slow body", slow); status != 200 {
		t.Errorf("a body within its time: %d %s", status, code)
	}
	var slowest time.Duration
	for time.Since(began) < 20*time.Second {
		r, err := call(s, "GET", "/api/leads?limit=1", "")
		if err != nil || r.status != 200 {
			t.Fatalf("others: %+v %v", r, err)
		}
		slowest = max(slowest, r.took)
		<-time.After(50 * time.Millisecond)
	}
	for what, c := range map[string]net.Conn{"a body that never comes": silent, "a body that drips": dripping} {
		if status, code := answer(what, c); status != 408 || code != "body_too_slow" {
			t.Errorf("%s: %d %s, want 408 body_too_slow", what, status, code)
		}
		if took := time.Since(began); took < 25*time.Second {
			t.Errorf("%s: given up after %s already", what, took)
		}
		t.Logf("%s: answered after %s", what, time.Since(began).Round(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: its connection goes on", what)
		}
	}
	t.Logf("others meanwhile: slowest %s", slowest)
	s.Stop()
}
