package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/config"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/httpapi"
	"leadloom/internal/mail"
	"leadloom/internal/outbound"
	"leadloom/internal/passwork"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// databaseFile is the SQLite database's name in the data folder.
const databaseFile = "leadloom.db"

// pgConnections is how many of a PostgreSQL's usual 100 connections all nodes share; the rest is for people and backups.
const pgConnections = 80

// authority is what the commands act under when they cross tenants.
var authority = account.NewInstance("command")

// installation is an opened data folder or database with everything above it. Parts are built downwards in the order
// of the fields and closed upwards.
type installation struct {
	store    *store.Store
	secrets  *secret.Box
	outbound *outbound.Client
	queue    *queue.Client
	services *service.Services
	api      *httpapi.API
	screen   queue.UI                // the jobs screen; nil where no job runs
	pages    map[string]http.Handler // pages beside the API: the demo's mail sink
	closers  []func(context.Context) error
}

// openStore opens the database for a command that reads or writes rows but runs no jobs.
func openStore(ctx context.Context, d config.Data, readOnly bool, log *slog.Logger) (*store.Store, error) {
	o := store.Options{PostgresURL: d.DatabaseURL.Reveal(), Logger: log, ReadOnly: readOnly, Now: failpoint.Now}
	if d.Nodes > 1 {
		o.PoolSize = max(pgConnections/d.Nodes, 4)
	}
	if o.PostgresURL == "" {
		o.Path = filepath.Join(d.Data, databaseFile)
		if !readOnly {
			if err := os.MkdirAll(d.Data, 0o700); err != nil {
				return nil, fmt.Errorf("--data: %w", err)
			}
		}
	}
	return store.Open(ctx, o)
}

// migrated brings our tables and the queue's up to this version.
func migrated(ctx context.Context, st *store.Store) error {
	if err := st.MigrateUp(ctx, authority); err != nil {
		return err
	}
	failpoint.Hit(failpoint.MigrationQueue)
	return queue.MigrateUp(ctx, queueTables(st))
}

// refuseUnfinished refuses a database whose restore was cut off: it looks like a new one and is not.
func refuseUnfinished(ctx context.Context, st *store.Store) error {
	unfinished, err := st.RestoreUnfinished(ctx, authority)
	if err == nil && unfinished {
		err = fault.Conflict("restore_unfinished", "A restore into this database was cut off. Repeat the restore.")
	}
	return err
}

func queueTables(st *store.Store) queue.Options {
	return queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres()}
}

// masterKey is the key that seals stored secrets: the given one, or the data folder's, made when it is missing.
func masterKey(d config.Data) ([]byte, error) {
	if err := os.MkdirAll(d.Data, 0o700); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return secret.LoadMaster(d.Data, d.SecretKey)
}

// opening says what to open and for what.
type opening struct {
	data       config.Data
	log        *slog.Logger
	insertOnly bool // for commands: no job is run
	listen     []string
	publicURL  string
	proxies    []netip.Prefix // whose X-Forwarded-For is believed
	self       string         // executable for password work; empty: none
	outbound   outbound.Policy
	targets    []netip.AddrPort // loopback addresses that connections may call: the demo's simulator
	smtp       mail.Settings
	links      []httpapi.Link // further entries of the start page

	metricsElsewhere bool // an address of its own serves /metrics
}

// open builds every part, in order: store, secrets, queue, services, API. On an error it closes what it built.
func open(ctx context.Context, o opening) (in *installation, err error) {
	in = &installation{}
	defer func() {
		if err != nil {
			_ = in.close(context.WithoutCancel(ctx))
			in = nil
		}
	}()
	if in.store, err = openStore(ctx, o.data, false, o.log); err != nil {
		return in, err
	}
	in.closers = append(in.closers, func(context.Context) error { return in.store.Close() })
	if err = refuseUnfinished(ctx, in.store); err != nil {
		return in, err
	}
	key, err := masterKey(o.data) // not before: a key made beside a cut-off restore would not be its database's
	if err != nil {
		return in, err
	}
	in.secrets = secret.NewBox(key)
	if err = migrated(ctx, in.store); err != nil {
		return in, err
	}
	o.outbound.Instance = in.store.InstanceID()
	in.outbound = outbound.New(o.outbound)
	for _, t := range o.targets {
		in.outbound.AllowTarget(t)
	}
	in.closers = append(in.closers, func(context.Context) error { in.outbound.Close(); return nil })
	passwords := passwork.NewPool(o.self, o.log)
	in.closers = append(in.closers, func(context.Context) error { passwords.Close(); return nil })
	in.services = service.New(service.Deps{Store: in.store, Secrets: in.secrets, Log: o.log, PasswordWork: passwords, SMTP: o.smtp,
		Outbound: in.outbound, Self: func() outbound.Self { return outbound.Self{Listen: o.listen, PublicURL: o.publicURL} }})
	in.closers = append(in.closers, func(context.Context) error { in.services.Accounts.Close(); return nil })
	if err = in.openQueue(ctx, o); err != nil {
		return in, err
	}
	deps := httpapi.Deps{Services: in.services, Secrets: in.secrets, Log: o.log, Version: Version(), Instance: in.store.InstanceID(), Now: in.store.Now,
		TrustedProxies: o.proxies, Links: o.links, MetricsElsewhere: o.metricsElsewhere}
	if in.screen != nil {
		deps.Jobs = in.screen
	}
	in.api = httpapi.New(deps)
	return in, nil
}

// openQueue connects the queue with every kind of job that the services know.
func (in *installation) openQueue(ctx context.Context, o opening) (err error) {
	reg := queue.NewRegistry()
	clock := in.services.Jobs(reg)
	qo := queueTables(in.store)
	qo.Registry, qo.InsertOnly, qo.Logger, qo.Now = reg, o.insertOnly, o.log, in.store.Now
	qo.Observe = in.services.System.ObserveJob
	if !o.insertOnly {
		qo.Periodic, qo.Schedules = clock, in.store
	}
	if in.queue, err = queue.Open(ctx, qo); err != nil {
		return err
	}
	in.store.SetInserter(in.queue)
	if !o.insertOnly {
		in.screen, err = in.queue.UI()
	}
	return err
}

// close ends every part in the reverse order of its start, each within ctx.
func (in *installation) close(ctx context.Context) error {
	var errs []error
	for i := len(in.closers) - 1; i >= 0; i-- {
		errs = append(errs, in.closers[i](ctx))
	}
	in.closers = nil
	return errors.Join(errs...)
}

// closing bounds how long the parts may take to end.
func closing(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
