// Package sink is the demo's mail server: it accepts messages on a loopback address, keeps them as .eml files and
// shows them in a browser without letting their content act. It delivers nothing. Tests use it as a real relay that
// can be told to refuse, to defer and to hang up.
package sink
