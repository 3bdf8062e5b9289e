//go:build failpoint

package failpoint

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// armed counts down each armed point; it is read only after its first use.
var armed = arm(os.Getenv(Variable))

func arm(text string) map[Name]*atomic.Int64 {
	out := map[Name]*atomic.Int64{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry == "" {
			continue
		}
		name, times, _ := strings.Cut(entry, "=")
		n, err := strconv.ParseInt(times, 10, 64)
		if err != nil || n < 1 || !slices.Contains(all, Name(name)) {
			panic(fmt.Sprintf("%s: %q names no point with the number of a hit", Variable, entry))
		}
		out[Name(name)] = &atomic.Int64{}
		out[Name(name)].Store(n)
	}
	return out
}

// Hit ends the process when the point is armed and this is its time. Nothing is flushed, closed or answered.
func Hit(n Name) {
	left, ok := armed[n]
	if !ok || left.Add(-1) != 0 {
		return
	}
	_, _ = os.Stderr.WriteString(Killed + string(n) + "\n")
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way: nothing after this point happens
}

// Targets are the loopback addresses of TargetsVariable, which the tests' own receivers listen on.
func Targets() []netip.AddrPort {
	var out []netip.AddrPort
	for text := range strings.SplitSeq(os.Getenv(TargetsVariable), ",") {
		if text != "" {
			out = append(out, netip.MustParseAddrPort(text))
		}
	}
	return out
}
