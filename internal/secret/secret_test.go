package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBox_OpensOnlyItsOwnPlace(t *testing.T) {
	box := NewBox(bytes.Repeat([]byte{7}, 32))
	sealed := box.Seal([]byte("s3cret"), "t-one/c-1/api_key")
	if got, err := box.Open(sealed, "t-one/c-1/api_key"); err != nil || string(got) != "s3cret" {
		t.Fatalf("Open = %q, %v; want the sealed text", got, err)
	}
	if bytes.Contains(sealed, []byte("s3cret")) {
		t.Fatal("the sealed value contains the secret")
	}
	for name, aad := range map[string]string{"other tenant": "t-two/c-1/api_key", "other field": "t-one/c-1/token", "none": ""} {
		if _, err := box.Open(sealed, aad); err != ErrOpen {
			t.Errorf("%s: Open = %v; a value moved to another place must not open", name, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := box.Open(bad, "t-one/c-1/api_key"); err != ErrOpen {
			t.Fatalf("byte %d changed: Open = %v; want ErrOpen", i, err)
		}
	}
	if _, err := box.Open(sealed[:10], ""); err != ErrOpen {
		t.Errorf("a cut value: %v; want ErrOpen", err)
	}
}

func TestBox_RotationOpensOldValues(t *testing.T) {
	old, fresh := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	sealed := NewBox(old).Seal([]byte("x"), "a")
	rotated := NewBox(fresh, old)
	if got, err := rotated.Open(sealed, "a"); err != nil || string(got) != "x" {
		t.Fatalf("old value after rotation: %q, %v", got, err)
	}
	if _, err := NewBox(fresh).Open(sealed, "a"); err != ErrOpen {
		t.Fatalf("without the old key: %v; want ErrOpen", err)
	}
	if NewBox(old).KeyID() == rotated.KeyID() {
		t.Fatal("two keys share an id")
	}
}

func TestDerive_DependsOnPurposeAlone(t *testing.T) {
	a, b := NewBox(bytes.Repeat([]byte{1}, 32)), NewBox(bytes.Repeat([]byte{1}, 32))
	if !bytes.Equal(a.Derive("jwt", 32), b.Derive("jwt", 32)) {
		t.Error("two boxes of one master derive different keys: nodes would not understand each other")
	}
	if bytes.Equal(a.Derive("jwt", 32), a.Derive("cursor", 32)) {
		t.Error("two purposes share a key")
	}
}

func TestMasked_NeverPrintsItself(t *testing.T) {
	const plain = "hunter2hunter2-abcd"
	m := Masked(plain)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", m, "in", struct{ K Masked }{m})
	js, _ := json.Marshal(map[string]any{"k": m})
	outputs := []string{fmt.Sprint(m), fmt.Sprintf("%s %q %x %v %+v %#v %d", m, m, m, m, m, m, m), log.String(), string(js), fmt.Sprintf("%#v", struct{ K Masked }{m})}
	for _, out := range outputs {
		if strings.Contains(out, "hunter") || strings.Contains(out, fmt.Sprintf("%x", plain)) {
			t.Errorf("the secret shows in %q", out)
		}
	}
	if m.Hint() != "…abcd" || Masked("short").Hint() != "" {
		t.Errorf("Hint = %q and %q; want the last four of a long one, nothing of a short one", m.Hint(), Masked("short").Hint())
	}
}

func TestLoadMaster_MakesOnceAndRefusesOpenFiles(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadMaster(dir, "")
	if err != nil || len(first) != 32 {
		t.Fatalf("LoadMaster = %d bytes, %v", len(first), err)
	}
	again, err := LoadMaster(dir, "")
	if err != nil || !bytes.Equal(first, again) {
		t.Fatalf("the second start has another key (%v)", err)
	}
	path := filepath.Join(dir, KeyFile)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v; want 0600", info.Mode())
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMaster(dir, ""); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key file: %v; want advice to chmod 600", err)
	}
	if _, err := LoadMaster(dir, "tooshort"); err == nil || strings.Contains(err.Error(), "tooshort") {
		t.Errorf("a bad key from the environment: %v; want an error without its text", err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}
