// Package mail builds and sends messages: settings of the relay, addresses, Liquid templates under fixed limits,
// MIME, Message-IDs of ours, the SMTP dialogue and the classification of its outcome.
//
// It knows neither the ledger nor leads: a Message goes in, an Outcome comes out. The one thing it promises to its
// caller is exactness about the dialogue: OutcomeUnknown means that the relay may have the message, every other
// failure means that it has not. Start with sender.go.
package mail
