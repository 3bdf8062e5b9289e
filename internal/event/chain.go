package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// Record is an event exactly as it is stored: texts, not values, so that its digest depends on no encoder.
type Record struct {
	Tenant, ID                    string
	At                            int64 // microseconds since 1970
	Type, Lead, Subject           string
	ActorKind, ActorID, ActorName string
	Cause, Data, Changes, Request string
	Erased                        string // digest that the event had before its content was erased, hex
	CommitEpoch, CommitOrder      int64  // place in the order of commits
}

// Digest is the SHA-256 of the record's content in hex. An erased event keeps the digest that it had.
func (r Record) Digest() string {
	if r.Erased != "" {
		return r.Erased
	}
	h := sha256.New()
	for _, f := range []string{"leadloom event 1", r.Tenant, r.ID, r.Type, r.Lead, r.Subject,
		r.ActorKind, r.ActorID, r.ActorName, r.Cause, r.Data, r.Changes, r.Request} {
		writeField(h, f)
	}
	writeNumber(h, r.At)
	return hex.EncodeToString(h.Sum(nil))
}

// Block is a sealed piece of a tenant's chain: its events in commit order, with the hash of everything before.
type Block struct {
	Tenant       string `json:"-"`
	Number       int64  `json:"number"` // 1 for the first
	CommitEpoch  int64  `json:"-"`
	FromOrder    int64  `json:"-"`         // of its first event
	ToOrder      int64  `json:"-"`         // one past that of its last event
	FirstSeq     int64  `json:"first_seq"` // 1 for the tenant's first event
	Events       int64  `json:"events"`
	PreviousHash string `json:"previous_hash"` // empty for the first block
	Hash         string `json:"hash"`
	SealedAt     int64  `json:"-"` // microseconds since 1970
}

// ChainHash is the hash of a block over the digests of its events in order.
func (b Block) ChainHash(digests []string) string {
	h := sha256.New()
	writeField(h, "leadloom block 1")
	writeField(h, b.Tenant)
	writeNumber(h, b.Number)
	writeNumber(h, b.FirstSeq)
	writeField(h, b.PreviousHash)
	writeNumber(h, int64(len(digests)))
	for _, d := range digests {
		writeField(h, d)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeField(h hash.Hash, s string) {
	writeNumber(h, int64(len(s)))
	h.Write([]byte(s))
}

func writeNumber(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}
