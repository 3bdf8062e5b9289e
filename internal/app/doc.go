// Package app is the commands: it builds the parts in order (settings, secrets, store, queue, services, API,
// listeners), runs them, and stops them in reverse. It knows no business rule. Start with main.go, then open.go.
package app
