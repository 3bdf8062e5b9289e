package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/config"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/fault"
	"leadloom/internal/httpapi"
	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
	"leadloom/internal/outbound"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

const (
	// demoMarker is the file by which a demo's folder is recognised; its text says whether the seeding has ended.
	demoMarker  = "leadloom-demo"
	demoSeeding = "seeding\n"
	demoReady   = "ready\n"
	demoSetting = "demo" // the same mark in the database, where it goes along with a backup

	demoMail = "/demo/mail/" // where the mail sink shows what was sent

	demoUser     = "admin"
	demoPassword = "admin123" // printed at the start; the demo listens on loopback only
)

// demo serves demo data with a CRM simulator and a mail sink beside it.
func demo(ctx context.Context, c config.Demo, s Streams) error {
	dir := c.Data
	if dir == "" {
		tmp, err := os.MkdirTemp("", "leadloom-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	log := newLogger(config.Log{LogLevel: c.LogLevel, LogFormat: c.LogFormat}, s.Err)
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	targets, err := c.Targets()
	if err != nil {
		return err
	}
	in, err := openDemo(ctx, dir, ln, targets, s.Self, log)
	if err != nil {
		ln.Close()
		return err
	}
	line := fmt.Sprintf("Leadloom demo is ready at %s · log in as %s / %s", webURL(ln.Addr()), demoUser, demoPassword)
	if c.Data != "" {
		line += " · data in " + c.Data
	}
	return in.run(ctx, running{ln: ln, line: line, data: dir, stop: 10 * time.Second, log: log, streams: s})
}

// openDemo opens a demo's folder with its mail sink, and seeds it when that has not been done.
func openDemo(ctx context.Context, dir string, ln net.Listener, targets []netip.AddrPort, self string, log *slog.Logger) (*installation, error) {
	seeded, err := claimDemo(dir)
	if err != nil {
		return nil, err
	}
	box, err := sink.Start("127.0.0.1:0", sink.Options{Dir: filepath.Join(dir, "mail"), Log: log})
	if err != nil {
		return nil, fmt.Errorf("start the mail sink: %w", err)
	}
	sim, err := simulator.Start(simulator.Options{Account: "Demo CRM", Journal: filepath.Join(dir, "crm-simulator.jsonl")})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the CRM simulator: %w", err), box.Close())
	}
	sim.ForgetCalls(false)
	in, err := open(ctx, opening{data: config.Data{Data: dir}, log: log, listen: []string{ln.Addr().String()}, self: self,
		outbound: outbound.Policy{Log: log}, targets: append(targets, sim.Addr()),
		smtp: mail.Settings{Host: "127.0.0.1", Port: box.Addr().Port, TLS: mail.TLSNone, From: "Leadloom Demo <demo@leadloom.example>"},
		links: []httpapi.Link{{Path: demoMail, Name: "Mail sink", About: "Every e-mail that this demo has sent; none leaves this machine."},
			{Path: sim.URL(), Name: "CRM simulator", About: "The records that this demo's CRM connection has sent."}}})
	if err != nil {
		return nil, errors.Join(err, sim.Close(), box.Close())
	}
	in.pages = map[string]http.Handler{demoMail: box.Handler(demoMail)}
	in.closers = append([]func(context.Context) error{func(context.Context) error { return errors.Join(sim.Close(), box.Close()) }}, in.closers...)
	if !seeded {
		err = in.seedDemo(ctx)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, demoMarker), []byte(demoReady), 0o600)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("seed the demo: %w", err), in.close(ctx))
		}
	}
	if err := in.connectDemo(ctx, sim); err != nil {
		return nil, errors.Join(fmt.Errorf("connect the CRM simulator: %w", err), in.close(ctx))
	}
	return in, nil
}

// connectDemo points the demo's connection at the simulator, whose port is another one at each start.
func (in *installation) connectDemo(ctx context.Context, sim *simulator.Simulator) error {
	url := sim.APIURL()
	_, err := in.services.CRM.Configure(ctx, account.SystemScope(account.FirstTenant, "demo"), service.ConnectionInput{Type: connector.Generic, Name: "demo", APIURL: &url,
		Settings: &connector.Settings{RatePerSecond: 100, BatchSize: 500}})
	return err
}

// claimDemo marks an empty folder as a demo's, recognises one that a demo made, and refuses any other.
func claimDemo(dir string) (seeded bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("--data: %w", err)
	}
	marker := filepath.Join(dir, demoMarker)
	text, err := os.ReadFile(marker)
	if err == nil {
		return string(text) == demoReady, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("--data: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("--data: %w", err)
	}
	if len(entries) > 0 {
		var names []string
		for _, e := range entries[:min(3, len(entries))] {
			names = append(names, e.Name())
		}
		return false, fault.Conflict("not_a_demo", fmt.Sprintf("--data: %s holds %s and was not made by a demo. Name an empty folder; for real data use leadloom serve.", dir, strings.Join(names, ", ")))
	}
	return false, os.WriteFile(marker, []byte(demoSeeding), 0o600)
}

// seedDemo fills a fresh demo. It may be run again after it was cut off: what is there stays as it is.
func (in *installation) seedDemo(ctx context.Context) error {
	tenant := account.Tenant{ID: account.FirstTenant, Name: "Demo", Plan: account.PlanEnterprise}
	if err := in.store.Write(ctx, func(tx *store.Tx) error {
		return tx.SaveSetting(account.SystemScope(tenant.ID, "demo"), demoSetting, "true")
	}); err != nil {
		return err
	}
	if err := in.services.Accounts.BootstrapTenant(ctx, authority, tenant); err != nil {
		return err
	}
	admin, err := in.services.Accounts.BootstrapUser(ctx, authority, tenant.ID, "user-admin",
		account.NewUser{Username: demoUser, Email: "admin@leadloom.example", Role: string(account.RoleAdmin), Password: demoPassword})
	if err != nil {
		return err
	}
	sc := account.NewScope(tenant.ID, account.Actor{Kind: account.ActorUser, ID: string(admin.ID), Name: admin.Username}, admin.ID, account.AllPermissions)
	if err := in.services.SeedDemoLeads(ctx, sc); err != nil {
		return err
	}
	if err := in.services.SeedDemoCampaign(ctx, sc); err != nil {
		return err
	}
	if err := in.services.SeedDemoWorkflow(ctx, sc); err != nil {
		return err
	}
	return in.services.SeedDemoRuns(ctx, sc)
}
