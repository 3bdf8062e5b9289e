package outbound

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers every question with the addresses of the moment.
type nameServer struct {
	conn    net.PacketConn
	answers atomic.Pointer[[]string]
	asked   atomic.Int64
}

func startNames(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &nameServer{conn: conn}
	go s.serve()
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var q dnsmessage.Message
		if q.Unpack(buf[:n]) != nil || len(q.Questions) == 0 {
			continue
		}
		ask := q.Questions[0]
		reply := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
		s.asked.Add(1)
		for _, text := range *s.answers.Load() {
			a := netip.MustParseAddr(text)
			head := dnsmessage.ResourceHeader{Name: ask.Name, Class: ask.Class, Type: ask.Type, TTL: 0}
			switch {
			case a.Is4() && ask.Type == dnsmessage.TypeA:
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && ask.Type == dnsmessage.TypeAAAA:
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		if b, err := reply.Pack(); err == nil {
			_, _ = s.conn.WriteTo(b, from)
		}
	}
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

// TestDo_NamesThatChangeTheirAddress: whatever a name resolved to before, each dial is judged by what it really reaches.
func TestDo_NamesThatChangeTheirAddress(t *testing.T) {
	var hits atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	p, _ := strconv.Atoi(port)
	answers := [][]string{{"192.0.2.1"}, {"127.0.0.1"}, {"169.254.169.254"}, {"::1"}, {"::ffff:127.0.0.1"}, {"64:ff9b::7f00:1"}, {"2002:7f00:1::"}, {"10.0.0.1", "127.0.0.1", "fd00::1"}}
	names := startNames(t)
	c := newClient(Policy{AllowPorts: []int{p}}, names.resolver())
	defer c.Close()
	for _, a := range answers {
		names.answers.Store(&a)
		_, err := c.Do(t.Context(), Request{Method: "GET", URL: "https://rebind.example.com:" + port + "/"})
		if !HasCode(err, CodeAddress) {
			t.Errorf("a name that has become %v: %v; want address_not_allowed", a, err)
		}
	}
	if hits.Load() != 0 || int(names.asked.Load()) < len(answers) {
		t.Errorf("%d hits inside after %d look-ups; want none, and a look-up for each call", hits.Load(), names.asked.Load())
	}
}
