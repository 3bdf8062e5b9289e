package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkHealth measures the whole chain without the socket.
func BenchmarkHealth(b *testing.B) {
	s := newServer(b)
	s.svc.System.Refresh(context.Background())
	for _, path := range []string{"/health", "/docs", "/api/openapi.json", "/metrics"} {
		b.Run(path, func(b *testing.B) {
			h := s.api.Handler()
			r := httptest.NewRequest("GET", path, nil)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
