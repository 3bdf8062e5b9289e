package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The jobs of a killed node go back to the queue within a minute, and no job of a living one is given to another: each
// node that runs jobs on PostgreSQL renews a lease in queue_nodes, by the database's clock; who finds the lease of a
// running job's node gone gives the job back. A node that cannot renew ends its own jobs first. What was in the middle
// of an outside call all the same finds itself fenced by its attempt (Job.Finish).
const (
	beatEvery  = 5 * time.Second
	fenceAfter = LeaseFor - 2*beatEvery // without a renewal this long a node ends its jobs
	takeAtOnce = 5000                   // jobs of one statement
)

// LeaseFor is how long a node of PostgreSQL is taken as living after it has said so in queue_nodes. Whatever it claimed
// in its own name (Job.Node) can be taken back then.
const LeaseFor = 30 * time.Second

const nodesTable = `CREATE TABLE IF NOT EXISTS %squeue_nodes (id text PRIMARY KEY, started_at timestamptz NOT NULL DEFAULT now(), seen_at timestamptz NOT NULL)`

// node is this process among the nodes of one PostgreSQL.
type node struct {
	pool   *pgxpool.Pool
	id     string // River's client id, which it writes into the jobs that it takes
	schema string // "" or with a dot behind
	rt     *runtime
	log    *slog.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// schemaPrefix is what stands before a table's name.
func schemaPrefix(schema string) string {
	if schema == "" {
		return ""
	}
	return pgx.Identifier{schema}.Sanitize() + "."
}

// start takes the lease, before any job is taken under it, and keeps it.
func (n *node) start(ctx context.Context) error {
	if err := n.beat(ctx); err != nil {
		return fmt.Errorf("take the node's lease: %w", err)
	}
	if err := n.takeBack(ctx); err != nil {
		return fmt.Errorf("take up jobs of dead nodes: %w", err)
	}
	ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.done.Go(func() { n.keep(ctx) })
	return nil
}

// stop gives the lease up: after the last job has ended.
func (n *node) stop(ctx context.Context) {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.done.Wait()
	if _, err := n.pool.Exec(ctx, "DELETE FROM "+n.schema+"queue_nodes WHERE id=$1", n.id); err != nil {
		n.log.DebugContext(ctx, "the node's lease runs out by itself", "error", err.Error())
	}
}

func (n *node) keep(ctx context.Context) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		bounded, cancel := context.WithTimeout(ctx, beatEvery)
		err := n.beat(bounded)
		if err == nil {
			last = time.Now()
			err = n.takeBack(bounded)
		} else if time.Since(last) > fenceAfter {
			n.rt.loseLease()
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "the node's lease or the jobs of dead nodes could not be looked after; it is tried again", "error", err.Error())
		}
	}
}

// beat renews the lease. One that has run out is gone with all jobs under it; a new one is taken.
func (n *node) beat(ctx context.Context) error {
	tag, err := n.pool.Exec(ctx, "UPDATE "+n.schema+"queue_nodes SET seen_at=now() WHERE id=$1 AND seen_at > now() - make_interval(secs => $2)", n.id, LeaseFor.Seconds())
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		n.rt.loseLease()
		if _, err := n.pool.Exec(ctx, "INSERT INTO "+n.schema+"queue_nodes (id, seen_at) VALUES ($1, now()) ON CONFLICT (id) DO UPDATE SET seen_at=now()", n.id); err != nil {
			return err
		}
	}
	n.rt.haveLease()
	return nil
}

// takeBack gives jobs whose node's lease has run out back to the queue. One in its last attempt is dead: what watches
// over its kind is told so by its state, as after any other last attempt.
func (n *node) takeBack(ctx context.Context) error {
	_, err := n.pool.Exec(ctx, fmt.Sprintf(`WITH gone AS (SELECT j.id FROM %[1]sriver_job j WHERE j.state='running' AND j.attempted_at < now() - make_interval(secs => $1)
			AND NOT EXISTS (SELECT 1 FROM %[1]squeue_nodes q WHERE q.id = j.attempted_by[cardinality(j.attempted_by)] AND q.seen_at > now() - make_interval(secs => $1))
			ORDER BY j.id LIMIT $2 FOR UPDATE SKIP LOCKED)
		UPDATE %[1]sriver_job j SET state = (CASE WHEN j.attempt < j.max_attempts THEN 'available' ELSE 'discarded' END)::%[1]sriver_job_state,
			finalized_at = CASE WHEN j.attempt < j.max_attempts THEN NULL ELSE now() END FROM gone WHERE j.id = gone.id`, n.schema), LeaseFor.Seconds(), takeAtOnce)
	if err != nil {
		return err
	}
	_, err = n.pool.Exec(ctx, "DELETE FROM "+n.schema+"queue_nodes WHERE seen_at < now() - interval '1 day'")
	return err
}
