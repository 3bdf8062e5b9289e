package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// healthBody is the answer of /health: one word per component.
type healthBody struct {
	Status     service.State            `json:"status" enum:"healthy,degraded,unhealthy,starting"`
	Version    string                   `json:"version"`
	Timestamp  time.Time                `json:"timestamp" doc:"When the facts were looked at."`
	Instance   string                   `json:"instance" doc:"Names the database; all nodes on it share it."`
	Components map[string]service.State `json:"components"`
}

// healthDetails is the answer of /health/detailed: each component with its reason and what to do.
type healthDetails struct {
	Status     service.State                `json:"status" enum:"healthy,degraded,unhealthy,starting"`
	Version    string                       `json:"version"`
	Timestamp  time.Time                    `json:"timestamp"`
	Instance   string                       `json:"instance"`
	Uptime     int64                        `json:"uptime_seconds"`
	Components map[string]service.Component `json:"components"`
	Queue      struct {
		Depth  int64           `json:"depth"`
		Oldest float64         `json:"oldest_age_seconds"`
		Jobs   []store.JobStat `json:"jobs"`
	} `json:"queue"`
	Database struct {
		Latency float64 `json:"latency_ms"`
	} `json:"database"`
	Disk struct {
		FreePercent float64 `json:"free_percent" doc:"-1 when no folder is watched."`
	} `json:"disk"`
}

// stateWord is the answer of /health/live and /health/ready.
type stateWord struct {
	Status string `json:"status" enum:"alive,ready,not_ready"`
}

// rendered is a health answer made once per judgement and sent to everybody who asks meanwhile.
type rendered struct {
	of      *service.Health
	status  int
	body    []byte
	details []byte
}

func (p *rendered) send(w http.ResponseWriter, body []byte) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	sendJSON(w, p.status, body)
}

// healthPages holds the last rendering.
type healthPages struct{ last atomic.Pointer[rendered] }

func (a *API) health() {
	a.plain(Route{Method: "GET", Path: "/health", ID: "get-health", Tag: "System", Summary: "Is it well?", Permission: account.Public, Quiet: true,
		Description: "Facts are looked at in the background each second; asking costs nothing. 503 when it is unhealthy.", Also: []int{503}},
		"application/json", healthBody{}, func(w http.ResponseWriter, _ *http.Request, _ account.Scope) {
			p := a.renderHealth()
			p.send(w, p.body)
		})
	a.plain(Route{Method: "GET", Path: "/health/detailed", ID: "get-health-detailed", Tag: "System", Summary: "How is each part?", Permission: account.Public, Quiet: true, Also: []int{503}},
		"application/json", healthDetails{}, func(w http.ResponseWriter, _ *http.Request, _ account.Scope) {
			p := a.renderHealth()
			p.send(w, p.details)
		})
	a.plain(Route{Method: "GET", Path: "/health/live", ID: "get-health-live", Tag: "System", Summary: "Does the process answer?", Permission: account.Public, Quiet: true},
		"application/json", stateWord{}, func(w http.ResponseWriter, _ *http.Request, _ account.Scope) {
			sendJSON(w, http.StatusOK, []byte(`{"status":"alive"}`+"\n"))
		})
	a.plain(Route{Method: "GET", Path: "/health/ready", ID: "get-health-ready", Tag: "System", Summary: "May requests be sent here?", Permission: account.Public, Quiet: true, Also: []int{503}},
		"application/json", stateWord{}, func(w http.ResponseWriter, _ *http.Request, _ account.Scope) {
			if a.Services.System.Ready() {
				sendJSON(w, http.StatusOK, []byte(`{"status":"ready"}`+"\n"))
				return
			}
			w.Header().Set("Retry-After", "1")
			sendJSON(w, http.StatusServiceUnavailable, []byte(`{"status":"not_ready"}`+"\n"))
		})
	register(a, Route{Method: "GET", Path: "/api/status", ID: "get-status", Tag: "System", Summary: "What runs here", Permission: account.Public},
		func(context.Context, account.Scope, *struct{}) (*installationOutput, error) { return a.status(), nil })
}

func (a *API) renderHealth() *rendered {
	h := a.Services.System.Health()
	if p := a.healthPages.last.Load(); p != nil && p.of == h {
		return p
	}
	b := healthBody{Status: h.Status, Version: a.Version, Timestamp: h.At, Instance: a.Instance, Components: map[string]service.State{}}
	d := healthDetails{Status: h.Status, Version: a.Version, Timestamp: h.At, Instance: a.Instance,
		Uptime: int64(a.Services.System.Uptime().Seconds()), Components: map[string]service.Component{}}
	for _, c := range h.Components {
		b.Components[c.Name], d.Components[c.Name] = c.State, c
	}
	d.Queue.Depth, d.Queue.Oldest, d.Queue.Jobs = h.QueueDepth, max(0, h.QueueAge.Seconds()), h.Jobs
	if d.Queue.Jobs == nil {
		d.Queue.Jobs = []store.JobStat{}
	}
	d.Database.Latency = ms(h.Latency)
	d.Disk.FreePercent = h.DiskFree
	p := &rendered{of: h, status: http.StatusOK}
	if h.Status == service.Unhealthy {
		p.status = http.StatusServiceUnavailable
	}
	p.body, p.details = mustJSON(b), mustJSON(d)
	a.healthPages.last.Store(p)
	return p
}

type installationOutput struct {
	Body struct {
		APIVersion string            `json:"api_version"`
		Status     service.State     `json:"status"`
		Timestamp  time.Time         `json:"timestamp"`
		Endpoints  map[string]string `json:"endpoints" doc:"The first path of each part of the API."`
	}
}

func (a *API) status() *installationOutput {
	out := &installationOutput{}
	out.Body.APIVersion, out.Body.Status, out.Body.Timestamp = a.Version, a.Services.System.Health().Status, a.Now().UTC()
	out.Body.Endpoints = map[string]string{}
	for _, rt := range a.routes {
		key := strings.ToLower(strings.ReplaceAll(rt.Tag, " ", "_"))
		if _, ok := out.Body.Endpoints[key]; !ok && !rt.Hidden && key != "" && !strings.Contains(rt.Path, "{") {
			out.Body.Endpoints[key] = rt.Path
		}
	}
	return out
}

func sendJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// mustJSON encodes what only a bug can keep from being encoded.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("httpapi: not JSON: " + err.Error())
	}
	return append(b, '\n')
}
