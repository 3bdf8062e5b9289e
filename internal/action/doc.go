// Package action holds what workflow nodes do: one file each, all named in the one list of registry.go. An action
// checks its own configuration and acts through workflow.World; it knows no database, no HTTP and no other action.
// Adding one: write a configuration struct with check and Do, add a line to All, and the suite in actiontest runs
// over it.
package action
