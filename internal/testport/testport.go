// Package testport gives tests an address for a server that comes later, or that ends and comes back.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// The system takes ports from its own range for every connection that is made and every listener that names none. A port
// from there can be gone by the time a test's server wants it: another test has it, or the server's own client, which
// dialled the port that nobody listened on and met itself. Ports below that range are nobody's but those that ask for them.
const (
	lowest = 10_240 // what services have as their own lies below, mostly
	widely = 32_768 // where the system's range begins when it does not say
)

// Free is a loopback address that nobody listens on now, and that the system gives to nobody.
func Free() (string, error) {
	highest := widely
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &highest)
	}
	if highest < lowest+1_000 { // the system's range is nearly everything: its own choice is as good
		return listen(0)
	}
	var last error
	for range 100 {
		addr, err := listen(lowest + rand.IntN(highest-lowest))
		if err == nil {
			return addr, nil
		}
		last = err
	}
	return "", last
}

// listen tells whether a port can be had, and its address.
func listen(port int) (string, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
