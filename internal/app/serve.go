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
	"strings"
	"time"

	"leadloom/internal/config"
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
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	in, err := open(ctx, opening{data: c.Data, log: log, self: s.Self, listen: []string{ln.Addr().String()}, publicURL: c.PublicURL,
		outbound: outbound.Policy{AllowRanges: config.Networks(c.AllowRanges), AllowPorts: c.AllowPorts, Log: log}, smtp: relay,
		proxies: config.Networks(c.TrustedProxies)})
	if err != nil {
		ln.Close()
		return err
	}
	url := webURL(ln.Addr())
	link, err := in.services.Accounts.SetupLink(ctx, authority)
	if err != nil {
		ln.Close()
		return errors.Join(err, in.close(context.WithoutCancel(ctx)))
	}
	line := "Leadloom " + Version() + " is ready at " + url
	if link != "" {
		base := url
		if c.PublicURL != "" {
			base = strings.TrimRight(c.PublicURL, "/")
		}
		line += " · no user yet: open " + base + "/setup?token=" + link.Reveal() + " (works once, for a day)"
	}
	return in.run(ctx, running{ln: ln, metricsAddr: c.MetricsAddr, line: line, data: c.Data.Data, stop: c.ShutdownTimeout, log: log, streams: s})
}

// running says how an installation serves.
type running struct {
	ln          net.Listener
	metricsAddr string
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
	defer stopWatching()
	in.services.System.Observe(service.Watched{DataDir: r.data, Version: Version()})
	in.services.System.Refresh(ctx)
	go in.services.Accounts.FollowNodes(watching)
	go in.services.Workflows.RunTimers(watching)
	go in.services.System.Watch(watching, service.Watched{DataDir: r.data, Version: Version()})
	if err := in.queue.Start(ctx); err != nil {
		r.ln.Close()
		return errors.Join(err, in.close(context.WithoutCancel(ctx)))
	}
	if err := in.screen.Start(watching); err != nil {
		r.log.Warn("the jobs screen shows no figures", "error", err)
	}
	failed := make(chan error, 2)
	servers := []*http.Server{newServer(in.handler(r.metricsAddr != ""), r.log)}
	go func() { failed <- servers[0].Serve(r.ln) }()
	if r.metricsAddr != "" {
		ln, err := net.Listen("tcp", r.metricsAddr)
		if err != nil {
			r.ln.Close()
			return errors.Join(fmt.Errorf("--metrics-addr: %w", err), in.close(context.WithoutCancel(ctx)))
		}
		metrics := http.NewServeMux()
		metrics.Handle("GET /metrics", in.api.Handler())
		servers = append(servers, newServer(metrics, r.log))
		go func() { failed <- servers[1].Serve(ln) }()
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
	bounded, cancel := closing(r.stop)
	defer cancel()
	for _, s := range servers {
		if serr := s.Shutdown(bounded); serr != nil {
			r.log.Warn("requests were cut off", "error", serr)
			_ = s.Close()
		}
	}
	if qerr := in.queue.Stop(bounded); qerr != nil {
		r.log.Warn("jobs were cut off; they run again at the next start", "error", qerr)
	}
	stopWatching()
	return errors.Join(err, in.close(context.WithoutCancel(ctx)))
}

// handler is the API with the pages beside it. Metrics that have an address of their own are not found here.
func (in *installation) handler(metricsElsewhere bool) http.Handler {
	api := in.api.Handler()
	if len(in.pages) == 0 && !metricsElsewhere {
		return api
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	for prefix, page := range in.pages {
		mux.Handle(prefix, page)
	}
	if metricsElsewhere {
		mux.Handle("/metrics", http.NotFoundHandler())
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
