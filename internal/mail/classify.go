package mail

import (
	"regexp"
	"strings"
)

// Class is what a refusal means for the recipient (behaviours 3.12.24).
type Class string

// The classes of refusals.
const (
	ClassNone  Class = ""
	ClassHard  Class = "hard"  // the mailbox does not exist: suppress
	ClassSoft  Class = "soft"  // may work later
	ClassBlock Class = "block" // policy or reputation: the recipient is fine
)

var enhancedCode = regexp.MustCompile(`\b([245])\.(\d{1,3})\.(\d{1,3})\b`)

// hardCodes are the enhanced codes after which an address is not written to again.
var hardCodes = map[string]bool{"5.1.1": true, "5.1.2": true, "5.1.3": true, "5.1.6": true, "5.1.10": true, "5.2.1": true}

var (
	blockWords = []string{"spam", "blocked", "blacklist", "blocklist", "listed", "policy", "reputation", "dmarc", "spf ", "dkim", "rate limit", "too many", "content rejected", "not authorized to send"}
	hardWords  = []string{"user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "does not exist", "mailbox not found", "mailbox unavailable", "invalid recipient", "recipient address rejected", "account disabled", "address unknown", "unknown recipient"}
	fullWords  = []string{"over quota", "quota exceeded", "mailbox full", "mailbox is full", "greylist", "graylist", "try again later"}
)

// Enhanced finds the enhanced status code in a reply's text; empty when it has none.
func Enhanced(text string) string { return enhancedCode.FindString(text) }

// Classify says what a refusal of a recipient or message means: by enhanced code, then basic code, then words.
func Classify(code int, enhanced, text string) Class {
	t := strings.ToLower(text)
	if enhanced == "" {
		enhanced = Enhanced(text)
	}
	if code >= 400 && code < 500 || code == 0 {
		return ClassSoft
	}
	switch {
	case strings.HasPrefix(enhanced, "4."):
		return ClassSoft
	case hardCodes[enhanced]:
		if enhanced == "5.1.1" || !hasAny(t, blockWords) {
			return ClassHard
		}
		return ClassBlock
	case enhanced == "5.2.2":
		return ClassSoft
	case strings.HasPrefix(enhanced, "5.7."):
		return ClassBlock
	}
	switch {
	case hasAny(t, blockWords):
		return ClassBlock
	case hasAny(t, fullWords) || code == 552:
		return ClassSoft
	case hasAny(t, hardWords):
		return ClassHard
	case enhanced == "" && (code == 550 || code == 551 || code == 553):
		return ClassHard
	}
	return ClassBlock
}

// denied are the words of a relay that does not take mail from us at all, whoever it is for.
var denied = []string{"relay access denied", "relaying denied", "unable to relay", "relay not permitted", "not permitted to relay", "relaying not allowed",
	"authentication required", "authentication is required", "must authenticate", "not authenticated", "must issue a starttls"}

// relayTrouble reports whether a reply speaks of the relay or of us rather than of this message: the service is
// closing (421), wants authentication or TLS (530, 534, 535, 538), does not relay for us, or limits our rate.
func relayTrouble(code int, text string) bool {
	t := strings.ToLower(text)
	switch code {
	case 421, 454, 530, 534, 535, 538:
		return true
	case 450, 451, 452:
		return strings.Contains(t, "rate") && strings.Contains(t, "limit") || strings.Contains(t, "too many connections") || strings.Contains(t, "too many messages")
	}
	return code >= 500 && hasAny(t, denied)
}

func hasAny(t string, words []string) bool {
	for _, w := range words {
		if strings.Contains(t, w) {
			return true
		}
	}
	return false
}
