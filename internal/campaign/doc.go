// Package campaign holds the rules of campaigns and of their send ledger: the states and what may follow them, what
// an audience is, why a recipient was not written to, and the one definition of every e-mail metric. It does no I/O
// and knows no clock. Start with campaign.go; metrics.go is the table that API, screens and checks share.
package campaign
