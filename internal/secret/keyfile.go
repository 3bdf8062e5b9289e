package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// KeyFile is the name of the key's file in the data folder.
const KeyFile = "secret.key"

const masterBytes = 32

// LoadMaster returns the master key: the given text (from LEADLOOM_SECRET_KEY or its _FILE) when it is not empty, else
// the file secret.key in dir, which is made with mode 0600 when it does not exist. The error names what to change and
// never shows the key.
func LoadMaster(dir string, text Masked) ([]byte, error) {
	if text != "" {
		return ParseMaster(text)
	}
	path := filepath.Join(dir, KeyFile)
	key, err := readKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKeyFile(path); err != nil {
		return nil, err
	}
	return readKeyFile(path)
}

// ReadMaster is LoadMaster for whoever must not make a key: without one it says where it was looked for.
func ReadMaster(dir string, text Masked) ([]byte, error) {
	if text != "" {
		return ParseMaster(text)
	}
	path := filepath.Join(dir, KeyFile)
	key, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is none at %s: name the server's own --data folder, or give its --secret-key", path)
	}
	return key, err
}

// ParseMaster reads a key of 32 bytes written as 64 hex digits or as base64.
func ParseMaster(text Masked) ([]byte, error) {
	s := string(bytes.TrimSpace([]byte(text.Reveal())))
	if b, err := hex.DecodeString(s); err == nil && len(b) == masterBytes {
		return b, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(s); err == nil && len(b) == masterBytes {
			return b, nil
		}
	}
	return nil, errors.New("the secret key is not 32 bytes in hex or base64: make one with `openssl rand -hex 32`")
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	key, err := ParseMaster(Masked(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKeyFile writes a whole key under another name, syncs it and links it into place, so that a crash leaves either
// no key or a good one and two starts at once agree on the one that was linked first.
func createKeyFile(path string) error {
	key := make([]byte, masterBytes)
	_, _ = rand.Read(key)
	return writeKeyFile(path, key)
}

// SaveMaster writes a restored key into the data folder, which must have none or the same one.
func SaveMaster(dir string, key []byte) error {
	if len(key) != masterBytes {
		return fmt.Errorf("a secret key has %d bytes, not %d", masterBytes, len(key))
	}
	path := filepath.Join(dir, KeyFile)
	if err := writeKeyFile(path, key); err != nil {
		return err
	}
	have, err := readKeyFile(path)
	if err == nil && !bytes.Equal(have, key) {
		return fmt.Errorf("%s exists and is another key: restore into an empty folder", path)
	}
	return err
}

func writeKeyFile(path string, key []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), KeyFile+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("make the secret key: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(hex.EncodeToString(key) + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("make the secret key: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
