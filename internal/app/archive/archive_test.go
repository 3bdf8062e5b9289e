package archive

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

func sample(t testing.TB, parts map[string][]byte, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, Manifest{Version: "test", Engine: "sqlite", Schema: 7, CreatedAt: time.Unix(1, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, err := w.Stream(n, bytes.NewReader(parts[n])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return b
}

func TestArchive_GivesBackWhatWasWritten(t *testing.T) {
	parts := map[string][]byte{"database": noise(9 << 20), "empty": {}, "tables/exact": noise(chunkSize), "tables/next": []byte("x")}
	names := []string{"database", "empty", "tables/exact", "tables/next"}
	r, err := NewReader(bytes.NewReader(sample(t, parts, names...)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Manifest.Schema != 7 {
		t.Errorf("manifest %+v", r.Manifest)
	}
	for _, want := range names {
		name, err := r.Next()
		if err != nil || name != want {
			t.Fatalf("part %q, %v; want %q", name, err, want)
		}
		if want == "empty" {
			continue // a part may be skipped
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, parts[want]) {
			t.Fatalf("%s: %d bytes, %v; want the %d that were written", want, len(got), err, len(parts[want]))
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last part: %v; want io.EOF", err)
	}
}

func TestArchive_EveryDamageIsSeen(t *testing.T) {
	whole := sample(t, map[string][]byte{"database": noise(100_000)}, "database")
	if _, err := Verify(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 997 {
		if _, err := Verify(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("cut after %d of %d bytes: accepted", n, len(whole))
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 0x40
		if _, err := Verify(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d flipped: accepted", n)
		}
	}
}

func TestKey_OpensOnlyWithItsPassphrase(t *testing.T) {
	sealed, err := WrapKey([]byte("0123456789abcdef"), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := UnwrapKey(bytes.NewReader(sealed), "correct horse"); err != nil || string(got) != "0123456789abcdef" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := UnwrapKey(bytes.NewReader(sealed), "wrong"); err == nil {
		t.Error("another passphrase opens the key")
	}
	if bytes.Contains(sealed, []byte("0123456789abcdef")) {
		t.Error("the key is readable in its wrapped form")
	}
}
