package mail

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// MessageID builds our Message-ID without angle brackets: the message's id in the ledger, a signature over it and the
// tenant, and the sender's domain. The same arguments give the same id, so that a message can be looked up at the
// relay and a bounce can be told from a forged one.
func MessageID(key []byte, tenant, messageID, domain string) string {
	return messageID + "." + sign(key, tenant, messageID) + "@" + domain
}

// VerifyMessageID returns the ledger's message id when the Message-ID is one of ours for that tenant.
func VerifyMessageID(key []byte, tenant, header string) (messageID string, ok bool) {
	left, _, found := strings.Cut(strings.Trim(strings.TrimSpace(header), "<>"), "@")
	if !found {
		return "", false
	}
	dot := strings.LastIndexByte(left, '.')
	if dot < 0 {
		return "", false
	}
	messageID = left[:dot]
	return messageID, hmac.Equal([]byte(left[dot+1:]), []byte(sign(key, tenant, messageID)))
}

// StepMessageID is the ledger id of the message of a workflow step: derived from its intent key, so that the same
// step can never queue a second message.
func StepMessageID(tenant, key string) string {
	sum := sha256.Sum256([]byte("step\x00" + tenant + "\x00" + key))
	return "k" + strings.ToLower(idEncoding.EncodeToString(sum[:20]))
}

func sign(key []byte, tenant, id string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("message-id\x00" + tenant + "\x00" + id))
	return strings.ToLower(idEncoding.EncodeToString(m.Sum(nil)[:10]))
}
