package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"leadloom/internal/fault"
)

// HashParams is what one argon2id hashing costs.
type HashParams struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultHashParams is OWASP's minimum for argon2id (Password Storage Cheat Sheet): about 20 ms on one core.
var DefaultHashParams = HashParams{MemoryKiB: 19 * 1024, Passes: 2, Lanes: 1}

const (
	saltBytes = 16
	hashBytes = 32
	// The bounds keep a damaged or planted row from asking for all the memory there is.
	maxHashMemoryKiB = 256 * 1024
	maxHashPasses    = 16
)

// Limits of a password; there are no rules of composition.
const (
	MinPasswordRunes = 10
	MaxPasswordBytes = 1024
)

// CheckNewPassword reports every reason why a password may not be set; path names the field it came in.
func CheckNewPassword(path, password string) []fault.Field {
	switch {
	case !utf8.ValidString(password):
		return []fault.Field{{Path: path, Code: "not_utf8", Message: "Send the password as UTF-8 text."}}
	case len(password) > MaxPasswordBytes:
		return []fault.Field{{Path: path, Code: "too_long", Message: fmt.Sprintf("Send at most %d bytes.", MaxPasswordBytes)}}
	case utf8.RuneCountInString(password) < MinPasswordRunes:
		return []fault.Field{{Path: path, Code: "too_short", Message: fmt.Sprintf("Choose a password of at least %d characters.", MinPasswordRunes)}}
	}
	return nil
}

// HashPassword gives the stored form of a password, $argon2id$v=19$m=…,t=…,p=…$salt$hash. It costs what p says: run
// it in a Hasher's turn.
func HashPassword(p HashParams, password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", fault.Internal("draw a salt", err)
	}
	return encodeHash(p, salt, deriveHash(p, salt, password, hashBytes)), nil
}

// VerifyPassword compares a password with its stored form in constant time. outdated says that the stored form was
// made with less effort than p and should be renewed. An unreadable or empty stored form matches nothing, and costs
// as much as a readable one. Run it in a Hasher's turn.
func VerifyPassword(p HashParams, stored, password string) (ok, outdated bool) {
	made, salt, want, err := decodeHash(stored)
	if err != nil {
		deriveHash(p, make([]byte, saltBytes), password, hashBytes)
		return false, false
	}
	got := deriveHash(made, salt, password, uint32(len(want)))
	ok = subtle.ConstantTimeCompare(got, want) == 1
	return ok, ok && (made.MemoryKiB < p.MemoryKiB || made.Passes < p.Passes)
}

func deriveHash(p HashParams, salt []byte, password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), salt, p.Passes, p.MemoryKiB, p.Lanes, size)
}

func encodeHash(p HashParams, salt, hash []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Passes, p.Lanes, enc.EncodeToString(salt), enc.EncodeToString(hash))
}

var errBadHash = errors.New("not an argon2id hash of ours")

func decodeHash(stored string) (p HashParams, salt, hash []byte, err error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errBadHash
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Passes, &p.Lanes); err != nil || n != 3 {
		return p, nil, nil, errBadHash
	}
	if p.MemoryKiB == 0 || p.MemoryKiB > maxHashMemoryKiB || p.Passes == 0 || p.Passes > maxHashPasses || p.Lanes == 0 {
		return p, nil, nil, errBadHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	hash, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(hash) < 16 || len(hash) > 128 {
		return p, nil, nil, errBadHash
	}
	return p, salt, hash, nil
}
