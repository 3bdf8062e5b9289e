package testport

import (
	"fmt"
	"net"
	"os"
	"testing"
)

func TestFree_IsNotOfTheSystemsRange(t *testing.T) {
	first := widely
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(b), &first); err != nil {
			t.Fatal(err)
		}
	}
	if first < lowest+1_000 {
		t.Skipf("the system's range begins at %d", first)
	}
	for range 20 {
		addr, err := Free()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		if port := l.Addr().(*net.TCPAddr).Port; port < lowest || port >= first {
			t.Errorf("port %d is not between %d and %d", port, lowest, first)
		}
		l.Close()
	}
}
