package store

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
)

// Reader reads. Inside a Tx it reads what the transaction sees and locks single rows; otherwise it reads the last
// committed state. Its methods live in one file per noun.
type Reader struct {
	q  querier
	s  *Store
	tx bool
}

// lock is appended to the read of a single row that the transaction will change. SQLite's writer is alone anyway.
func (r *Reader) lock() string {
	if r.tx {
		return r.s.dialect.forUpdate
	}
	return ""
}

// Tx is one transaction: reads, writes, events, jobs and counters commit together or not at all.
type Tx struct {
	*Reader
	now      time.Time
	raw      any
	jobs     []river.InsertManyParams
	counts   map[counterKey]int64
	onCommit []func()
	lastUS   int64
	nextID   string // see UseID
}

type counterKey struct {
	tenant  account.TenantID
	counter string
}

// Now is the transaction's one instant, in UTC and whole microseconds.
func (tx *Tx) Now() time.Time { return tx.now }

// later is the transaction's instant, or just behind an earlier one that a clock which has gone back since had given:
// what others read by the time of its last change must not seem older than what they have.
func (tx *Tx) later(than time.Time) time.Time {
	if !than.After(tx.now) {
		return tx.now
	}
	return than.Add(time.Microsecond)
}

// NewID makes a UUIDv7, or returns the id that UseID has given.
func (tx *Tx) NewID() string {
	if id := tx.nextID; id != "" {
		tx.nextID = ""
		return id
	}
	return newID()
}

// Raw is the engine's transaction (*sql.Tx or pgx.Tx), for the queue's job completion only.
func (tx *Tx) Raw() any { return tx.raw }

// Enqueue commits a job with the transaction. Unique jobs that are already queued are dropped silently: whoever must
// know asks a row of its own.
func (tx *Tx) Enqueue(args river.JobArgs, opts *river.InsertOpts) error {
	tx.jobs = append(tx.jobs, river.InsertManyParams{Args: args, InsertOpts: opts})
	return nil
}

// OnCommit runs f in this process after the commit, and never if the transaction fails. It must be quick.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

// AddCount changes a maintained total of the tenant; it is written once, at the end of the transaction.
func (tx *Tx) AddCount(sc account.Scope, counter string, delta int64) {
	if tx.counts == nil {
		tx.counts = map[counterKey]int64{}
	}
	tx.counts[counterKey{sc.Tenant(), counter}] += delta
}

// counterShards spreads a tenant's total over rows, so that PostgreSQL's writers don't queue behind one of them.
const counterShards = 16

func (tx *Tx) flushCounts() error {
	keys := slices.SortedFunc(maps.Keys(tx.counts), func(a, b counterKey) int {
		return cmp.Or(strings.Compare(string(a.tenant), string(b.tenant)), strings.Compare(a.counter, b.counter))
	})
	keys = slices.DeleteFunc(keys, func(k counterKey) bool { return tx.counts[k] == 0 })
	if tx.s.pg != nil && len(keys) > 0 {
		return tx.flushTogether(keys, micros(tx.now)%counterShards)
	}
	for _, k := range keys {
		if _, err := tx.exec(`INSERT INTO tenant_counters (tenant_id, counter, shard, n) VALUES ($1,$2,$3,$4)
			ON CONFLICT (tenant_id, counter, shard) DO UPDATE SET n = tenant_counters.n + excluded.n`,
			k.tenant, k.counter, 0, tx.counts[k]); err != nil {
			return fmt.Errorf("count %s: %w", k.counter, err)
		}
	}
	return nil
}

// flushTogether writes all totals of a transaction in one statement, in one order: two transactions that count the same
// things must not wait for each other.
func (tx *Tx) flushTogether(keys []counterKey, shard int64) error {
	type count struct {
		T account.TenantID `json:"t"`
		C string           `json:"c"`
		N int64            `json:"n"`
	}
	counts := make([]count, len(keys))
	for i, k := range keys {
		counts[i] = count{k.tenant, k.counter, tx.counts[k]}
	}
	if _, err := tx.exec(`INSERT INTO tenant_counters (tenant_id, counter, shard, n) SELECT x.t, x.c, $2, x.n FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS x(t text, c text, n bigint)
		ON CONFLICT (tenant_id, counter, shard) DO UPDATE SET n = tenant_counters.n + excluded.n`, jsonText(counts), shard); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	return nil
}

// Count is a maintained total; 0 when nothing was ever counted.
func (r *Reader) Count(sc account.Scope, counter string) (int64, error) {
	return queryOne(r, scanInt, sqlCount, string(sc.Tenant()), counter)
}

const sqlCount = `SELECT CAST(COALESCE(SUM(n),0) AS BIGINT) FROM tenant_counters WHERE tenant_id=$1 AND counter=$2`

// CacheVersion is the version of an area's rules as this Reader sees it; 0 before the first change. A cache entry is
// valid while its version equals the one read in the same transaction.
func (r *Reader) CacheVersion(sc account.Scope, area string) (int64, error) {
	key := cacheKey{sc.Tenant(), area}
	if v, ok := r.s.caches.Load(key); ok && v.(int64) != askVersion {
		return v.(int64), nil
	}
	v, err := queryOne(r, scanInt, `SELECT version FROM cache_versions WHERE tenant_id=$1 AND area=$2`, string(sc.Tenant()), area)
	if err == ErrNotFound {
		v, err = 0, nil
	}
	if err == nil && r.s.sq != nil {
		r.s.caches.LoadOrStore(key, v) // what a change has marked meanwhile stays marked
	}
	return v, err
}

// On SQLite this process is alone (a lock file sees to it), so that versions are kept in memory: every change of a
// lead reads three of them. A change that is not committed yet marks its version as askVersion; a rolled back one
// leaves the mark, which costs a query and nothing else.
type cacheKey struct {
	tenant account.TenantID
	area   string
}

const askVersion = int64(-1)

// BumpCache makes every node's cache of the area stale, in the changing transaction. The new version is drawn, not
// counted: what was read and kept under the version of a transaction that is rolled back afterwards is never valid again.
func (tx *Tx) BumpCache(sc account.Scope, area string) error {
	key := cacheKey{sc.Tenant(), area}
	if tx.s.sq != nil {
		tx.s.caches.Store(key, askVersion)
	}
	v, err := queryOne(tx.Reader, scanInt, `INSERT INTO cache_versions (tenant_id, area, version) VALUES ($1,$2,$3)
		ON CONFLICT (tenant_id, area) DO UPDATE SET version = excluded.version RETURNING version`, string(sc.Tenant()), area, 1+rand.Int64N(math.MaxInt64-1))
	if err != nil {
		return err
	}
	if tx.s.pg != nil {
		_, err = tx.exec(`SELECT pg_notify('leadloom', $1)`, area+":"+string(sc.Tenant()))
		return err
	}
	tx.OnCommit(func() { tx.s.caches.Store(key, v) })
	return nil
}

// jsonText is v as JSON for a TEXT column; it panics on what JSON cannot hold, which only a bug can produce.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: not JSON: %v", err))
	}
	return string(b)
}
