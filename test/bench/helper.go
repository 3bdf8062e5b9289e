package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// helperEnv names what a process of this program is: "bare FILE" and so on; see helpers.
const helperEnv = "LEADLOOM_BENCH_HELPER"

// helpers are the other sides of the legs, each in a process of its own so that its work is counted as its own.
var helpers = map[string]func(arg string) (http.Handler, error){
	"bare":  newBare,
	"alone": newAlone,
	"sink":  newSink,
	"crm":   newCRM,
	"loops": newLoops,
}

// Helper is the whole life of a helper process: main and TestMain call it first. It returns false in any other process.
func Helper() bool {
	name, arg, _ := strings.Cut(os.Getenv(helperEnv), " ")
	if name == "" {
		return false
	}
	if err := serveHelper(name, arg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// serveHelper prints the address and serves until the standard input ends.
func serveHelper(name, arg string) error {
	h, err := helpers[name](arg)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, h) }()
	fmt.Println("http://" + l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startHelper starts one of the helpers with its argument.
func startHelper(ctx context.Context, name, arg string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, name, cleanEnv(helperEnv+"="+name+" "+arg), self)
}

// answer writes v as JSON, or err as a 500.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
