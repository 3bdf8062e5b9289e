// Package workflow holds the rules of workflows: what a definition is, which ones are refused and why, how a run
// walks its graph, which change starts which workflow and when a schedule is due. It does no I/O, knows no clock
// (times are passed in) and no action by name: the list of node kinds comes from package action. Start with
// definition.go, then plan.go (the compiled form) and walk.go (the interpreter).
package workflow
