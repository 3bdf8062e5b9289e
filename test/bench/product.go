package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const benchPassword = "bench-password-1"

// target is a server that answers lead requests: a product or the bare one.
type target struct {
	*process
	token string
	ids   []string // of the leads that are read and updated
}

// product is one binary under measurement with its running server.
type product struct {
	target
	name, binary string
	dir          string // its data
	demo         *target
	flows        map[string]string // workflow ids by the leg's name
	crm          string            // the demo's connection
}

// openProduct starts a server on an empty folder with a user and the leads of the legs.
func openProduct(ctx context.Context, w *world, name, binary string) (*product, error) {
	p := &product{name: name, binary: binary, dir: filepath.Join(w.dir, name), flows: map[string]string{}}
	add := exec.CommandContext(ctx, binary, "user", "create", "--username", "bench", "--email", "bench@example.com", "--role", "admin", "--password-stdin", "--data", p.dir)
	add.Env, add.Stdin = cleanEnv(), strings.NewReader(benchPassword+"\n")
	if out, err := add.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: user create: %w: %s", name, err, out)
	}
	host, port, _ := strings.Cut(w.mail.Target, ":")
	server, err := start(ctx, name, cleanEnv(), binary, "serve", "--addr", "127.0.0.1:0", "--data", p.dir, "--log-level", "error",
		"--smtp-host", host, "--smtp-port", port, "--smtp-tls", "none", "--smtp-from", "Bench <hello@sender.example>")
	if err != nil {
		return nil, err
	}
	w.processes = append(w.processes, server)
	p.target.process = server
	if p.token, err = login(ctx, server, "bench", benchPassword); err != nil {
		return nil, err
	}
	for _, f := range []map[string]any{{"key": "budget", "type": "integer"}, {"key": "city", "type": "text"}} {
		if err := server.call(ctx, p.token, "POST", "/api/fields", f, nil); err != nil {
			return nil, err
		}
	}
	return p, p.fill(ctx, "/api/leads/bulk", w.o.Leads)
}

func login(ctx context.Context, p *process, user, password string) (string, error) {
	var out struct {
		AccessToken string `json:"access_token"`
	}
	err := p.call(ctx, "", "POST", "/api/auth/login", map[string]string{"username": user, "password": password}, &out)
	return out.AccessToken, err
}

// openBare starts the ceiling of the lead requests with the same leads.
func openBare(ctx context.Context, w *world) (*target, error) {
	p, err := startHelper(ctx, "bare", filepath.Join(w.dir, "bare.db"))
	if err != nil {
		return nil, err
	}
	w.processes = append(w.processes, p)
	t := &target{process: p, token: "none"}
	return t, t.fill(ctx, "/api/leads/bulk?listed=1", w.o.Leads)
}

// fill stores the leads that are read, listed and updated.
func (t *target) fill(ctx context.Context, path string, n int) (err error) {
	t.ids, err = t.store(ctx, path, n, func(i int) string {
		source := "bench"
		if i%4 == 0 {
			source = "fair"
		}
		return person(fmt.Sprintf("fill.%d", i), fmt.Sprintf("Lovelace%03d", i%100), source)
	})
	return err
}

// store creates n leads, 1,000 a request, and returns their ids.
func (t *target) store(ctx context.Context, path string, n int, one func(i int) string) ([]string, error) {
	var ids []string
	for from := 0; from < n; from += 1000 {
		var rows []json.RawMessage
		for i := from; i < min(from+1000, n); i++ {
			rows = append(rows, json.RawMessage(one(i)))
		}
		var out struct {
			LeadIDs []string `json:"lead_ids"`
		}
		if err := t.call(ctx, t.token, "POST", path, map[string]any{"leads": rows}, &out); err != nil {
			return nil, err
		}
		ids = append(ids, out.LeadIDs...)
	}
	if len(ids) != n {
		return nil, fmt.Errorf("%s: %d of %d leads were stored", t.name, len(ids), n)
	}
	return ids, nil
}

var keys atomic.Int64

// unique is a part of an address that no other lead has.
func unique() string { return fmt.Sprintf("%x.%d", time.Now().UnixMicro(), keys.Add(1)) }

func person(key, lastName, source string) string {
	return `{"first_name":"Ada","last_name":"` + lastName + `","email":"` + key + `@example.com","phone":"","company":"Analytical Engines","source":"` + source + `","custom_fields":{"budget":1200,"city":"London"}}`
}

// flow is the id of a workflow, made at the first use. Its triggers are API calls.
func (p *product) flow(ctx context.Context, name, definition string) (string, error) {
	if id := p.flows[name]; id != "" {
		return id, nil
	}
	var out struct {
		ID string `json:"id"`
	}
	err := p.call(ctx, p.token, "POST", "/api/workflows", json.RawMessage(definition), &out)
	if err == nil && out.ID == "" {
		err = errors.New("a new workflow has no id")
	}
	p.flows[name] = out.ID
	return out.ID, err
}

// finished is how many runs of a workflow have ended; a parked one is an error.
func (p *product) finished(ctx context.Context, flow string) (int64, error) {
	var out struct {
		Counts map[string]int64 `json:"counts"`
	}
	err := p.call(ctx, p.token, "GET", "/api/workflows/"+flow+"/status", nil, &out)
	if err == nil && out.Counts["parked"] > 0 {
		err = fmt.Errorf("%d runs are parked", out.Counts["parked"])
	}
	return out.Counts["finished"], err
}

// untilFinished waits for n more runs than there were.
func (p *product) untilFinished(ctx context.Context, flow string, n int64) error {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		got, err := p.finished(ctx, flow)
		if err != nil || got >= n {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s: not every run of %s ended within 3 minutes", p.name, flow)
}

// withCRM is the demo of the same binary: only a demo may call this machine. Its own connection is removed.
func (p *product) withCRM(ctx context.Context, w *world) (*target, string, error) {
	if p.demo != nil {
		return p.demo, p.crm, nil
	}
	server, err := start(ctx, p.name+" (demo)", cleanEnv(), p.binary, "demo", "--addr", "127.0.0.1:0", "--data", p.dir+"-demo", "--log-level", "error", "--allow-targets", w.simulator.Target)
	if err != nil {
		return nil, "", err
	}
	w.processes = append(w.processes, server)
	t := &target{process: server}
	if t.token, err = login(ctx, server, "admin", "admin123"); err != nil {
		return nil, "", err
	}
	var list struct {
		Connections []struct{ ID string }
	}
	if err := t.call(ctx, t.token, "GET", "/api/connections", nil, &list); err != nil {
		return nil, "", err
	}
	for _, c := range list.Connections {
		if err := t.call(ctx, t.token, "DELETE", "/api/connections/"+c.ID, nil, nil); err != nil {
			return nil, "", err
		}
	}
	var made struct{ ID string }
	if err := t.call(ctx, t.token, "POST", "/api/connections", map[string]any{"crm_type": "generic", "name": "bench", "api_url": "http://" + w.simulator.Target + "/api",
		"settings": map[string]any{"batch_size": crmBatch, "rate_per_second": 10_000}}, &made); err != nil {
		return nil, "", err
	}
	if err := t.inStep(ctx, made.ID); err != nil {
		return nil, "", err
	}
	p.demo, p.crm = t, made.ID
	return t, made.ID, nil
}

// connection is its state and how many leads wait for it.
type connection struct {
	Status  string `json:"status"`
	Waiting int64  `json:"waiting"`
}

// inStep waits until the connection works and no lead waits for it.
func (t *target) inStep(ctx context.Context, id string) error {
	var c connection
	return t.until(ctx, t.token, "/api/connections/"+id, 20*time.Millisecond, &c, func() bool { return c.Status == "connected" && c.Waiting == 0 })
}
