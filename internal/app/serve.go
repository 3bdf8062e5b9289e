package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/config"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/outbound"
	"leadloom/internal/service"
)

const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 64 << 10
)

// serve is the production server.
func serve(ctx context.Context, c config.Serve, s Streams) error {
	log := newLogger(c.Log, s.Err)
	relay := mail.Settings{Host: c.SMTP.Host, Port: c.SMTP.Port, TLS: mail.TLSMode(c.SMTP.TLS), Username: c.SMTP.Username,
		Password: c.SMTP.Password.Reveal(), From: c.SMTP.From}
	if err := relay.Check(); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(c.Data.Data, demoMarker)); err == nil {
		return errDemoData("--data: " + c.Data.Data + " was made by a demo")
	}
	ln, metrics, err := listen(c)
	if err != nil {
		return err
	}
	in, err := open(ctx, opening{data: c.Data, log: log, self: s.Self, listen: []string{ln.Addr().String()}, publicURL: c.PublicURL,
		outbound: outbound.Policy{AllowRanges: config.Networks(c.AllowRanges), AllowPorts: c.AllowPorts, Log: log}, smtp: relay,
		targets: failpoint.Targets(),
		proxies: config.Networks(c.TrustedProxies), metricsElsewhere: metrics != nil})
	if err != nil {
		return errors.Join(err, closeAll(ln, metrics))
	}
	url := webURL(ln.Addr())
	if err = in.refuseDemo(ctx); err != nil {
		return errors.Join(err, closeAll(ln, metrics), in.close(context.WithoutCancel(ctx)))
	}
	link, err := in.services.Accounts.SetupLink(ctx, authority)
	if err != nil {
		return errors.Join(err, closeAll(ln, metrics), in.close(context.WithoutCancel(ctx)))
	}
	line := "Leadloom " + Version() + " is ready at " + url
	if link != "" {
		base := url
		if c.PublicURL != "" {
			base = strings.TrimRight(c.PublicURL, "/")
		}
		line += " · no user yet: open " + base + "/setup?token=" + link.Reveal() + " (works once, for a day)"
	}
	return in.run(ctx, running{ln: ln, metrics: metrics, line: line, data: c.Data.Data, stop: c.ShutdownTimeout, log: log, streams: s})
}

// errDemoData refuses data whose administrator's password everybody knows.
func errDemoData(what string) error {
	return fault.Conflict("demo_data", what+", whose password everybody knows. Name another folder or database, or use leadloom demo.")
}

// refuseDemo refuses a demo's data wherever they came from, a backup say.
func (in *installation) refuseDemo(ctx context.Context) error {
	mark, err := in.store.Read(ctx).Setting(account.SystemScope(account.FirstTenant, "serve"), demoSetting)
	if err == nil && mark != "" {
		err = errDemoData("The database was made by a demo")
	}
	return err
}

// listen takes both addresses before anything is opened: one that is taken stops the start with nothing done.
func listen(c config.Serve) (main, metrics net.Listener, err error) {
	if main, err = net.Listen("tcp", c.Addr); err != nil {
		return nil, nil, fmt.Errorf("--addr: %w", err)
	}
	if c.MetricsAddr == "" {
		return main, nil, nil
	}
	if metrics, err = net.Listen("tcp", c.MetricsAddr); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--metrics-addr: %w", err), main.Close())
	}
	return main, metrics, nil
}

func closeAll(all ...net.Listener) (err error) {
	for _, l := range all {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// running says how an installation serves.
type running struct {
	ln, metrics net.Listener  // metrics: nil when the main address serves them
	line        string        // printed when requests are accepted
	data        string        // folder whose disk health watches
	stop        time.Duration // for requests and jobs to finish
	log         *slog.Logger
	streams     Streams
}

// run serves until ctx ends, then stops in the reverse order: health turns red, listeners stop accepting, requests
// finish, jobs finish or go back, the database is checkpointed and closed.
func (in *installation) run(ctx context.Context, r running) error {
	watching, stopWatching := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	quiet := func() { stopWatching(); watchers.Wait() }
	defer quiet()
	in.services.System.Observe(service.Watched{DataDir: r.data, Version: Version()})
	in.services.System.Refresh(ctx)
	watchers.Go(func() { in.services.Accounts.FollowNodes(watching) })
	watchers.Go(func() { in.services.Workflows.RunTimers(watching) })
	watchers.Go(func() { in.services.System.Watch(watching) })
	watchers.Go(func() { trimWhileIdle(watching, in.api.RequestsServed) })
	if err := in.queue.Start(ctx); err != nil {
		quiet()
		return errors.Join(err, closeAll(r.ln, r.metrics), in.close(context.WithoutCancel(ctx)))
	}
	if err := in.screen.Start(watching); err != nil {
		r.log.Warn("the jobs screen shows no figures", "error", err)
	}
	failed := make(chan error, 2)
	servers := []*http.Server{newServer(in.handler(), r.log)}
	go func() { failed <- servers[0].Serve(r.ln) }()
	if r.metrics != nil {
		servers = append(servers, newServer(in.api.MetricsHandler(), r.log))
		go func() { failed <- servers[1].Serve(r.metrics) }()
	}
	if _, err := fmt.Fprintln(r.streams.Out, r.line); err != nil {
		r.log.Warn("print the address", "error", err)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	in.services.System.Stopping()
	stopServers(servers, r.stop/2, r.log) // the other half is for the jobs, however slow a client is
	bounded, cancel := closing(r.stop / 2)
	defer cancel()
	if qerr := in.queue.Stop(bounded); qerr != nil {
		r.log.Warn("jobs were cut off; they run again at the next start", "error", qerr)
	}
	quiet()
	return errors.Join(err, in.close(context.WithoutCancel(ctx)))
}

// stopServers lets requests finish and cuts off those that don't.
func stopServers(servers []*http.Server, within time.Duration, log *slog.Logger) {
	bounded, cancel := closing(within)
	defer cancel()
	for _, s := range servers {
		if err := s.Shutdown(bounded); err != nil {
			log.Warn("requests were cut off", "error", err)
			_ = s.Close()
		}
	}
}

// handler is the API with the pages beside it.
func (in *installation) handler() http.Handler {
	api := in.api.Handler()
	if len(in.pages) == 0 {
		return api
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	for prefix, page := range in.pages {
		mux.Handle(prefix, page)
	}
	return mux
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

// webURL is how a browser on this machine reaches a listener.
func webURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// openapi prints the document of the routes that this binary serves, without touching any data.
func openapi(s Streams) error {
	dir, err := os.MkdirTemp("", "leadloom-openapi-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, err := open(context.Background(), opening{data: config.Data{Data: dir}, log: slog.New(slog.DiscardHandler), insertOnly: true})
	if err != nil {
		return err
	}
	rec := httptest.NewRecorder()
	in.api.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil))
	if rec.Code != http.StatusOK {
		err = fmt.Errorf("the document is not served: status %d", rec.Code)
	} else {
		_, err = fmt.Fprintln(s.Out, rec.Body.String())
	}
	return errors.Join(err, in.close(context.Background()))
}
