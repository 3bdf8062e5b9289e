package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// FuzzReader reads a backup that anyone may have made, both as the file and as the archive inside its compression: it ends,
// what it hands out is bounded, and only what carries the right checksums is verified.
func FuzzReader(f *testing.F) {
	whole := sample(f, map[string][]byte{"database": []byte("rows"), "tables/a": []byte(`{"columns":["id"]}`)}, "database", "tables/a")
	inside := unpack(f, whole)
	f.Add(whole, false)
	f.Add(whole[:len(whole)/2], false)
	f.Add(inside, true)
	f.Add(inside[:512], true)
	f.Add(bytes.Replace(inside, []byte("rows"), []byte("ROWS"), 1), true)
	f.Add(bytes.Replace(inside, []byte(`"format": 1`), []byte(`"format": 9`), 1), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, packed bool) {
		if packed {
			b = pack(t, b)
		}
		r, err := NewReader(io.LimitReader(bytes.NewReader(b), 1<<20))
		if err != nil {
			return
		}
		defer r.Close()
		if r.Manifest.Format != 1 {
			t.Fatalf("format %d is read", r.Manifest.Format)
		}
		parts := map[string][]byte{}
		for {
			name, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if parts[name], err = io.ReadAll(io.LimitReader(r, 1<<20)); err != nil {
				return
			}
		}
		if m, err := Verify(bytes.NewReader(b)); err != nil || m != r.Manifest {
			t.Fatalf("read to its end, but not verified: %v", err)
		}
	})
}

// FuzzRoundTrip: what is written comes back.
func FuzzRoundTrip(f *testing.F) {
	f.Add("database", []byte("rows"), int64(7))
	f.Add("tables/\u00e9", []byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, version string, body []byte, schema int64) {
		var out bytes.Buffer
		w, err := NewWriter(&out, Manifest{Version: version, Engine: "sqlite", Schema: schema, CreatedAt: time.Unix(1, 0).UTC()})
		if err != nil {
			return
		}
		if _, err := w.Stream("tables/x", bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&out)
		if err != nil {
			t.Fatalf("our own backup: %v", err)
		}
		defer r.Close()
		if name, err := r.Next(); err != nil || name != "tables/x" || r.Manifest.Schema != schema {
			t.Fatalf("part %q of %+v: %v", name, r.Manifest, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%q comes back as %q (%v)", body, got, err)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("no end: %v", err)
		}
	})
}

// FuzzUnwrapKey: a sealed key that anyone may have made gives no key for our passphrase, and an error without a panic.
func FuzzUnwrapKey(f *testing.F) {
	f.Add([]byte("age-encryption.org/v1\n-> scrypt aaaaaaaaaaaaaaaaaaaaaa 1\n"))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 a\n\n---"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := UnwrapKey(bytes.NewReader(b), "pass"); err == nil {
			t.Fatalf("%q gives the key %x", b, key)
		}
	})
}

func unpack(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func pack(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(b, nil)
}
