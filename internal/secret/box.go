package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Layout of a sealed value: format (1 byte), key id (4), nonce (12), ciphertext with its 16-byte tag.
const (
	format     = 1
	keyIDBytes = 4
	nonceBytes = 12
	headBytes  = 1 + keyIDBytes + nonceBytes
)

// ErrOpen is returned for a value that was not sealed for this place by a key we hold: another key, another AAD,
// or changed bytes. The three are not told apart.
var ErrOpen = errors.New("secret: the value cannot be opened with this key for this place")

// Box seals and opens small values with AES-256-GCM. It is safe for concurrent use.
type Box struct {
	master []byte
	keys   []sealKey // the first seals; all of them open
}

type sealKey struct {
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

// NewBox builds a box from the master key (32 bytes or more of random data). Older master keys still open what they
// sealed, so that a key can be rotated while values are sealed anew. A master shorter than 16 bytes is a programming
// error and panics.
func NewBox(master []byte, older ...[]byte) *Box {
	b := &Box{master: append([]byte(nil), master...)}
	for _, m := range append([][]byte{master}, older...) {
		b.keys = append(b.keys, newSealKey(m))
	}
	return b
}

func newSealKey(master []byte) sealKey {
	if len(master) < 16 {
		panic("secret: the master key is shorter than 16 bytes")
	}
	block, err := aes.NewCipher(derive(master, "leadloom seal v1", 32))
	if err != nil {
		panic(fmt.Sprintf("secret: aes refuses a 32-byte key: %v", err))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("secret: gcm refuses aes: %v", err))
	}
	k := sealKey{aead: aead}
	copy(k.id[:], derive(master, "leadloom key id v1", keyIDBytes))
	return k
}

// KeyID names the key that seals now, in hex. It tells nothing about the key itself.
func (b *Box) KeyID() string { return hex.EncodeToString(b.keys[0].id[:]) }

// Seal encrypts plain for the place named by aad. The same aad must be given to Open.
func (b *Box) Seal(plain []byte, aad string) []byte {
	k := b.keys[0]
	out := make([]byte, headBytes, headBytes+len(plain)+k.aead.Overhead())
	out[0] = format
	copy(out[1:], k.id[:])
	nonce := out[1+keyIDBytes : headBytes]
	_, _ = rand.Read(nonce) // never fails: crypto/rand aborts the process instead
	return k.aead.Seal(out, nonce, plain, fullAAD(out[:1+keyIDBytes], aad))
}

// Open decrypts what Seal made for the same aad; ErrOpen otherwise.
func (b *Box) Open(sealed []byte, aad string) ([]byte, error) {
	if len(sealed) < headBytes || sealed[0] != format {
		return nil, ErrOpen
	}
	for _, k := range b.keys {
		if string(k.id[:]) != string(sealed[1:1+keyIDBytes]) {
			continue
		}
		plain, err := k.aead.Open(nil, sealed[1+keyIDBytes:headBytes], sealed[headBytes:], fullAAD(sealed[:1+keyIDBytes], aad))
		if err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// Derive gives n bytes (at most 8,160) that depend on the master key and the purpose alone: the same on every node
// and after every restart. Different purposes give unrelated bytes.
func (b *Box) Derive(purpose string, n int) []byte {
	return derive(b.master, "leadloom derive v1: "+purpose, n)
}

func derive(master []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, master, nil, info, n)
	if err != nil {
		panic(fmt.Sprintf("secret: derive %d bytes: %v", n, err))
	}
	return out
}

func fullAAD(head []byte, aad string) []byte {
	return append(append(make([]byte, 0, len(head)+len(aad)), head...), aad...)
}
