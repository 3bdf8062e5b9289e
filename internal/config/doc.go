// Package config reads what a person asked for: the command, its flags, LEADLOOM_* variables, secrets in files and
// an optional file of settings. It decides nothing but whether a value is usable, and says in one line which setting
// is not. Start with commands.go for what can be set, then parse.go for where a value comes from.
package config
