package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// maxWorkFactor is the most work that a sealed key may ask for, as a power of two: WrapKey takes 18, and each step
// doubles the time and the memory (256 MiB at 18). Whoever made the file chose it.
const maxWorkFactor = 20

// WrapKey seals the secret key under a passphrase.
func WrapKey(key []byte, passphrase string) ([]byte, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(key); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// UnwrapKey opens what WrapKey sealed.
func UnwrapKey(sealed io.Reader, passphrase string) ([]byte, error) {
	with, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	with.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(sealed, with)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		return nil, errors.New("the passphrase is not the one the backup was made with")
	}
	if err != nil {
		return nil, fmt.Errorf("open the secret key: %w", err)
	}
	return io.ReadAll(io.LimitReader(r, 1<<10))
}
