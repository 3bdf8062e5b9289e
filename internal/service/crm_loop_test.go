package service

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"leadloom/internal/outbound"
)

// startLoop is a server that answers as the instance itself would.
func startLoop(t testing.TB, instance string) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(outbound.HeaderInstance, instance)
		w.WriteHeader(http.StatusLoopDetected)
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}
