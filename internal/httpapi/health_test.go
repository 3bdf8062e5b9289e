package httpapi

import (
	"context"
	"strings"
	"testing"

	"leadloom/internal/queue"
	"leadloom/internal/service"
)

func TestHealth_TurnsRedWhenTheDatabaseCannotBeWrittenAndRecovers(t *testing.T) {
	s := newServer(t)
	sys := s.svc.System
	do(t, s, "", "GET", "/health/ready", "").want(503)
	do(t, s, "", "GET", "/health/live", "").want(200)
	sys.Observe(service.Watched{DataDir: t.TempDir()})
	look := func() { t.Helper(); sys.Refresh(context.Background()) }

	look()
	if d := do(t, s, "", "GET", "/health/detailed", "").want(503); !strings.Contains(d.Body, "the queue cannot be read") {
		t.Errorf("a database without the queue's tables: %s", d.Body)
	}
	if err := queue.MigrateUp(t.Context(), queue.Options{SQLite: s.st.SQLite()}); err != nil {
		t.Fatal(err)
	}
	look()
	h := do(t, s, "", "GET", "/health", "").want(200).json()
	parts := h["components"].(map[string]any)
	for _, c := range []string{"api", "database", "queue", "crm_connector", "workflow_runner"} {
		if parts[c] == nil {
			t.Errorf("no component %s in %v", c, parts)
		}
	}
	if h["version"] != "test" || h["instance"] != s.st.InstanceID() || h["timestamp"] == "" {
		t.Errorf("%v", h)
	}
	do(t, s, "", "GET", "/health/ready", "").want(200)

	if _, err := s.st.SQLite().Exec("PRAGMA query_only=1"); err != nil { // every write now fails as on a read-only disk
		t.Fatal(err)
	}
	look()
	if h := do(t, s, "", "GET", "/health", "").want(503).json(); h["status"] != "unhealthy" {
		t.Errorf("%v", h)
	}
	d := do(t, s, "", "GET", "/health/detailed", "").want(503)
	if !strings.Contains(d.Body, "cannot be written") || !strings.Contains(d.Body, `"action"`) || strings.Contains(d.Body, "readonly database") {
		t.Errorf("reason and action for a person, no engine's words: %s", d.Body)
	}
	do(t, s, "", "GET", "/health/ready", "").want(503)
	do(t, s, "", "GET", "/health/live", "").want(200)
	if !strings.Contains(do(t, s, "analyst", "GET", "/api/monitoring/alerts", "").want(200).Body, `"component.database"`) {
		t.Error("no alert")
	}

	if _, err := s.st.SQLite().Exec("PRAGMA query_only=0"); err != nil {
		t.Fatal(err)
	}
	look()
	do(t, s, "", "GET", "/health", "").want(200)
	do(t, s, "", "GET", "/health/ready", "").want(200)
	sys.Stopping()
	do(t, s, "", "GET", "/health/ready", "").want(503)
}

func TestStatusAndMetrics(t *testing.T) {
	s := newServer(t)
	st := do(t, s, "", "GET", "/api/status", "").want(200).json()
	for _, k := range []string{"api_version", "status", "timestamp", "endpoints"} {
		if st[k] == nil {
			t.Errorf("/api/status has no %s", k)
		}
	}
	do(t, s, "", "GET", "/api/metrics", "").problem(401, "no_credential")
	m := do(t, s, "guest", "GET", "/api/metrics", "").want(200).json()
	for _, k := range []string{"requests_total", "requests_failed", "avg_latency_ms", "max_latency_ms", "p50", "p95", "p99", "uptime_seconds", "queue_depth", "endpoints"} {
		if m[k] == nil {
			t.Errorf("/api/metrics has no %s", k)
		}
	}
	if m["requests_total"].(float64) < 2 || m["endpoints"].(map[string]any)["GET /api/status"] == nil {
		t.Errorf("%v", m)
	}
	do(t, s, "", "GET", "/api/nothing/here", "").want(404)
	text := do(t, s, "", "GET", "/metrics", "").want(200).Body
	for _, name := range []string{`leadloom_http_requests_total{class="2xx",route="GET /api/status"} 1`, `route="none"`,
		"leadloom_http_request_seconds_bucket", "leadloom_writer_commits_total", "leadloom_queue_attempts_total", "go_goroutines"} {
		if name == "leadloom_queue_attempts_total" {
			continue // appears with the first job
		}
		if !strings.Contains(text, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
}

func TestMonitoring_ThresholdsAreTheTenantsOwn(t *testing.T) {
	s := newServer(t)
	s.svc.System.Refresh(context.Background())
	do(t, s, "manager", "POST", "/api/monitoring/alerts/threshold", `{"metric":"p95_ms","threshold":0}`).problem(403, "forbidden")
	bad := do(t, s, "admin", "POST", "/api/monitoring/alerts/threshold", `{"metric":"nonsense","threshold":-1}`).problem(422, "validation_failed")
	if bad["metric"] != "not_allowed" || bad["threshold"] != "out_of_range" {
		t.Errorf("both problems at once: %v", bad)
	}
	do(t, s, "admin", "POST", "/api/monitoring/alerts/threshold", `{"metric":"p95_ms","threshold":0,"severity":"high"}`).want(200)
	if b := do(t, s, "admin", "GET", "/api/monitoring/alerts", "").want(200).Body; !strings.Contains(b, "threshold.p95_ms") {
		t.Errorf("no alert: %s", b)
	}
	if b := do(t, s, "admin@t-two", "GET", "/api/monitoring/alerts", "").want(200).Body; strings.Contains(b, "threshold.p95_ms") {
		t.Errorf("another tenant's threshold: %s", b)
	}
	p := do(t, s, "analyst", "GET", "/api/monitoring/performance", "").want(200).json()
	for _, k := range []string{"p95", "avg_latency_ms", "error_rate", "slowest", "queue", "database"} {
		if p[k] == nil {
			t.Errorf("performance has no %s", k)
		}
	}
}
