package queue

import (
	"context"
	"log/slog"
	"net/http"

	"riverqueue.com/riverui"
)

// UI is the jobs screen: an http.Handler for UIPrefix and everything below, with background work of its own that Start
// begins and that ends with its ctx. It knows no login: mount it behind one.
type UI interface {
	http.Handler
	Start(ctx context.Context) error
}

// UIPrefix is where the jobs screen expects to be mounted.
const UIPrefix = "/admin/jobs"

// UI builds the jobs screen. Arguments of jobs are hidden until a person asks for them.
func (c *Client) UI() (UI, error) { return c.eng.ui(slog.New(quiet{c.log.Handler()})) }

func (t *typed[T]) ui(log *slog.Logger) (UI, error) {
	return riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints:                riverui.NewEndpoints(t.Client, nil),
		Prefix:                   UIPrefix,
		JobListHideArgsByDefault: true,
		Logger:                   log,
	})
}
