// Command leadloom is the whole product: server, demo and the operator's tools.
package main

import (
	"os"

	"leadloom/internal/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], os.Environ(), app.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
