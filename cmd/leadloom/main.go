// Command leadloom is the whole product: server, demo and the operator's tools.
package main

import (
	"os"

	"leadloom/internal/app"
	"leadloom/internal/passwork"
)

func main() {
	if passwork.IsWorker() {
		if passwork.Work(os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		return
	}
	self, _ := os.Executable() // without it, passwords are hashed in this process
	os.Exit(app.Main(os.Args[1:], os.Environ(), app.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Self: self}))
}
