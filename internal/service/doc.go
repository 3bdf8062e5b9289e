// Package service holds the product's verbs: one public method is one transaction or one read. It checks what the
// caller may do to the object at hand, calls the rules, and writes a change together with its consequences. It knows
// no SQL and no status codes. Start with service.go; one file per noun follows. Lower-case methods of core that take
// a *store.Tx are the steps that verbs of several nouns share.
package service
