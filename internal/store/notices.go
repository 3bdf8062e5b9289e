package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/account"
)

// Notices tells, until ctx ends, which cache area of which tenant another node (or this one) has just made stale by
// BumpCache. all is called whenever notices may have been missed: at the start and after each lost connection. On
// SQLite there is one node, whose own changes are told by OnCommit: it only waits.
func (s *Store) Notices(ctx context.Context, all func(), one func(area string, t account.TenantID)) {
	if s.pg == nil {
		<-ctx.Done()
		return
	}
	for pause := time.Duration(0); ctx.Err() == nil; pause = min(pause+250*time.Millisecond, 5*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		listening, err := s.pg.listen(ctx, all, one)
		if listening {
			pause = 0
		}
		if ctx.Err() == nil {
			s.log.Warn("notices between nodes were interrupted; connecting again", "error", err)
		}
	}
}

// listen keeps one connection of its own until it breaks; listening says that it worked for a while.
func (e *pgEngine) listen(ctx context.Context, all func(), one func(area string, t account.TenantID)) (listening bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, e.pool.Config().ConnConfig)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN leadloom"); err != nil {
		return false, err
	}
	all() // after LISTEN: what was committed before it is now forgotten, what comes after it is told
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return true, err
		}
		if area, tenant, ok := strings.Cut(n.Payload, ":"); ok {
			one(area, account.TenantID(tenant))
		}
	}
}
