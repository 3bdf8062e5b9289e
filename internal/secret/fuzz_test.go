package secret

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// FuzzOpen: what was sealed comes back for its own place alone, and nothing else opens at all.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("s3cret"), "t-one/c-1/api_key", uint(3))
	f.Add([]byte{}, "", uint(0))
	f.Add(bytes.Repeat([]byte{1}, 300), "\x00", uint(17))
	box := NewBox(bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 32))
	f.Fuzz(func(t *testing.T, b []byte, place string, at uint) {
		if plain, err := box.Open(b, place); err == nil {
			t.Fatalf("%x opens as %q", b, plain)
		}
		sealed := box.Seal(b, place)
		if plain, err := box.Open(sealed, place); err != nil || !bytes.Equal(plain, b) {
			t.Fatalf("%x comes back as %x (%v)", b, plain, err)
		}
		if _, err := box.Open(sealed, place+"x"); err != ErrOpen {
			t.Fatalf("opens in another place: %v", err)
		}
		sealed[at%uint(len(sealed))] ^= byte(at>>8) | 1
		if _, err := box.Open(sealed, place); err != ErrOpen {
			t.Fatalf("byte %d changed: %v", at%uint(len(sealed)), err)
		}
	})
}

// FuzzParseMaster: a text that is taken for a key is 32 bytes, the same in hex.
func FuzzParseMaster(f *testing.F) {
	f.Add(hex.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	f.Add("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n")
	f.Add("_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_")
	f.Add("short")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseMaster(Masked(s))
		if err != nil {
			if len(s) > 8 && bytes.Contains([]byte(err.Error()), []byte(s)) {
				t.Fatalf("the error shows the key: %v", err)
			}
			return
		}
		again, err := ParseMaster(Masked(hex.EncodeToString(key)))
		if len(key) != masterBytes || err != nil || !bytes.Equal(again, key) {
			t.Fatalf("%q is the key %x, in hex %x (%v)", s, key, again, err)
		}
		NewBox(key)
	})
}
