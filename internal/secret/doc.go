// Package secret keeps what must never be read by accident: it seals values with a key that lies outside the
// database, derives further keys for single purposes, and has a string type that prints itself masked. It knows
// nothing of tables or of who owns a secret; callers bind each value to its place by the additional data (AAD)
// "tenant/object/field". Start with box.go.
package secret
