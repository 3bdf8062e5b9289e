package mail_test

import (
	"bytes"
	"mime"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"leadloom/internal/mail"
)

// TestBuild_ASubjectWithoutASpaceFitsTheLines and reads as it was written.
func TestBuild_ASubjectWithoutASpaceFitsTheLines(t *testing.T) {
	want := strings.Repeat("Rechnungsübersicht", 100)
	raw, err := mail.Build(&mail.Message{MessageID: "m.s@x.example", Date: time.Unix(0, 0), From: mail.Address{Addr: "from@x.example"}, To: mail.Address{Addr: "to@y.example"}, Subject: want, Text: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(raw, []byte("\r\n")) {
		if len(line) > 78 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil || got != want {
		t.Errorf("reads %q, %v", got, err)
	}
}
