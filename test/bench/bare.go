package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	gojson "github.com/goccy/go-json"
	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the driver the product uses

	_ "leadloom/internal/sqlitemem" // and how it uses it
)

// row is a lead as the API shows it.
type row struct {
	ID        string         `json:"id"`
	FirstName string         `json:"first_name"`
	LastName  string         `json:"last_name"`
	Email     string         `json:"email"`
	Phone     string         `json:"phone"`
	Company   string         `json:"company"`
	Source    string         `json:"source"`
	Status    string         `json:"status"`
	Score     int64          `json:"score"`
	OwnerID   string         `json:"owner_id"`
	Tags      []string       `json:"tags"`
	Custom    map[string]any `json:"custom_fields"`
	Version   int64          `json:"version"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
}

// The lists by source and by name read a copy that has the indexes they need, so that writes don't pay for those.
const bareSchema = bareLeads + `; CREATE UNIQUE INDEX leads_by_email ON leads (tenant_id, email);
	CREATE TABLE listed AS SELECT * FROM leads; CREATE INDEX listed_by_source ON listed (tenant_id, source, id); CREATE INDEX listed_by_name ON listed (tenant_id, last_name)`

const bareLeads = `CREATE TABLE leads (tenant_id TEXT NOT NULL, id TEXT NOT NULL, first_name TEXT NOT NULL, last_name TEXT NOT NULL, email TEXT NOT NULL,
	phone TEXT NOT NULL, company TEXT NOT NULL, source TEXT NOT NULL, status TEXT NOT NULL, score INTEGER NOT NULL, owner_id TEXT NOT NULL, tags TEXT NOT NULL,
	custom_fields TEXT NOT NULL, version INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (tenant_id, id)) STRICT, WITHOUT ROWID`

const bareColumns = "id,first_name,last_name,email,phone,company,source,status,score,owner_id,tags,custom_fields,version,created_at,updated_at"

// bare is the ceiling: rows in, rows out.
type bare struct {
	get, list, bySource, byName     *sql.Stmt
	writes                          chan *write
	insert, put, remove, last, show *sql.Stmt
	started                         time.Time
}

type write struct {
	fn   func() error
	done chan error
}

// newBare opens the database in a file and serves from it.
func newBare(path string) (http.Handler, error) {
	w, err := openWriter(path)
	if err != nil {
		return nil, err
	}
	if _, err := w.Exec(bareSchema); err != nil {
		return nil, err
	}
	r, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=cache_size(-16384)&_pragma=mmap_size(268435456)")
	if err != nil {
		return nil, err
	}
	r.SetMaxOpenConns(runtime.GOMAXPROCS(0) + 2)
	r.SetMaxIdleConns(runtime.GOMAXPROCS(0) + 2)
	conn, err := w.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	b := &bare{writes: make(chan *write, 1024), started: time.Now()}
	for _, p := range []struct {
		to **sql.Stmt
		on interface {
			PrepareContext(context.Context, string) (*sql.Stmt, error)
		}
		text string
	}{
		{&b.get, r, "SELECT " + bareColumns + " FROM leads WHERE tenant_id=$1 AND id=$2"},
		{&b.list, r, "SELECT " + bareColumns + " FROM leads WHERE tenant_id=$1 ORDER BY id DESC LIMIT 100"},
		{&b.bySource, r, "SELECT " + bareColumns + " FROM listed WHERE tenant_id=$1 AND source=$2 ORDER BY id DESC LIMIT 100"},
		{&b.byName, r, "SELECT " + bareColumns + " FROM listed WHERE tenant_id=$1 AND last_name=$2 ORDER BY id DESC LIMIT 100"},
		{&b.last, conn, "SELECT " + bareColumns + " FROM leads WHERE tenant_id=$1 AND id=$2"},
		{&b.insert, conn, "INSERT INTO leads (tenant_id," + bareColumns + ") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)"},
		{&b.show, conn, "INSERT INTO listed SELECT * FROM leads WHERE tenant_id=$1 AND id=$2"},
		{&b.put, conn, "UPDATE leads SET first_name=$3, company=$4, version=$5, updated_at=$6 WHERE tenant_id=$1 AND id=$2"},
		{&b.remove, conn, "DELETE FROM leads WHERE tenant_id=$1 AND id=$2"},
	} {
		if *p.to, err = p.on.PrepareContext(context.Background(), p.text); err != nil {
			return nil, err
		}
	}
	go b.commit(conn)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/leads/{id}", b.one)
	mux.HandleFunc("GET /api/leads", b.many)
	mux.HandleFunc("POST /api/leads", b.create)
	mux.HandleFunc("POST /api/leads/bulk", b.bulk)
	mux.HandleFunc("PUT /api/leads/{id}", b.update)
	mux.HandleFunc("PATCH /api/leads/{id}", b.update)
	mux.HandleFunc("DELETE /api/leads/{id}", b.delete)
	mux.HandleFunc("GET /health", b.health)
	return mux, nil
}

// openWriter opens SQLite as the product does for its one writer.
func openWriter(path string) (*sql.DB, error) {
	w, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)")
	if err == nil {
		w.SetMaxOpenConns(1)
	}
	return w, err
}

// commit is group commit: whatever queued while the last one was synced goes into the next transaction.
func (b *bare) commit(conn *sql.Conn) {
	ctx := context.Background()
	for first := range b.writes {
		batch := []*write{first}
	fill:
		for len(batch) < 256 {
			select {
			case w := <-b.writes:
				batch = append(batch, w)
			default:
				break fill
			}
		}
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		errs := make([]error, len(batch))
		for i, w := range batch {
			if err == nil {
				errs[i] = w.fn()
			}
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "COMMIT")
		}
		for i, w := range batch {
			if err != nil {
				errs[i] = err
			}
			w.done <- errs[i]
		}
	}
}

func (b *bare) write(fn func() error) error {
	w := &write{fn, make(chan error, 1)}
	b.writes <- w
	return <-w.done
}

func scan(s interface{ Scan(...any) error }) (*row, error) {
	var l row
	var tags, custom string
	var created, updated int64
	err := s.Scan(&l.ID, &l.FirstName, &l.LastName, &l.Email, &l.Phone, &l.Company, &l.Source, &l.Status, &l.Score, &l.OwnerID, &tags, &custom, &l.Version, &created, &updated)
	if err != nil {
		return nil, err
	}
	l.CreatedAt, l.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	if err := gojson.Unmarshal([]byte(tags), &l.Tags); err != nil {
		return nil, err
	}
	return &l, gojson.Unmarshal([]byte(custom), &l.Custom)
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = gojson.NewEncoder(w).Encode(v)
}

func (b *bare) one(w http.ResponseWriter, r *http.Request) {
	l, err := scan(b.get.QueryRowContext(context.WithoutCancel(r.Context()), "default", r.PathValue("id")))
	reply(w, l, err)
}

func (b *bare) many(w http.ResponseWriter, r *http.Request) {
	list, args := b.list, []any{"default"}
	if q := r.URL.RawQuery; q != "limit=100" {
		values := r.URL.Query()
		if source := values.Get("source"); source != "" {
			list, args = b.bySource, append(args, source)
		} else if name := values.Get("q"); name != "" {
			list, args = b.byName, append(args, name)
		}
	}
	rows, err := list.QueryContext(context.WithoutCancel(r.Context()), args...)
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer rows.Close()
	out := make([]*row, 0, 100)
	for rows.Next() {
		l, err := scan(rows)
		if err != nil {
			reply(w, nil, err)
			return
		}
		out = append(out, l)
	}
	reply(w, map[string]any{"leads": out, "total": len(out)}, rows.Err())
}

// store inserts a new lead; it runs in the writer's transaction.
func (b *bare) store(l *row) error {
	custom, err := gojson.Marshal(l.Custom)
	if err != nil {
		return err
	}
	tags, err := gojson.Marshal(append([]string{}, l.Tags...))
	if err != nil {
		return err
	}
	_, err = b.insert.Exec("default", l.ID, l.FirstName, l.LastName, l.Email, l.Phone, l.Company, l.Source, l.Status, l.Score, l.OwnerID, string(tags), string(custom), l.Version, l.CreatedAt.UnixMicro(), l.UpdatedAt.UnixMicro())
	return err
}

// born gives a decoded lead what the server decides.
func (l *row) born(now time.Time) {
	l.ID, l.Version, l.Status = uuid.Must(uuid.NewV7()).String(), 1, "new"
	l.CreatedAt, l.UpdatedAt = now, now
}

func (b *bare) create(w http.ResponseWriter, r *http.Request) {
	var l row
	if err := gojson.NewDecoder(r.Body).Decode(&l); err != nil {
		reply(w, nil, err)
		return
	}
	l.born(time.Now().UTC())
	err := b.write(func() error { return b.store(&l) })
	reply(w, map[string]any{"id": l.ID, "status": "success", "data": &l}, err)
}

// bulk stores many leads in one transaction. ?listed=1 puts them into the copy for lists too.
func (b *bare) bulk(w http.ResponseWriter, r *http.Request) {
	var in struct{ Leads []*row }
	if err := gojson.NewDecoder(r.Body).Decode(&in); err != nil {
		reply(w, nil, err)
		return
	}
	listed := r.URL.Query().Has("listed")
	ids := make([]string, len(in.Leads))
	err := b.write(func() error {
		now := time.Now().UTC()
		for i, l := range in.Leads {
			l.born(now)
			ids[i] = l.ID
			if err := b.store(l); err != nil {
				return err
			}
			if listed {
				if _, err := b.show.Exec("default", l.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
	reply(w, map[string]any{"status": "success", "processed": len(ids), "lead_ids": ids}, err)
}

func (b *bare) delete(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := b.write(func() error {
		done, err := b.remove.Exec("default", id)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n != 1 {
			return errors.Join(fmt.Errorf("%d rows of %s were there", n, id), err)
		}
		return nil
	})
	reply(w, map[string]any{"status": "deleted", "lead_id": id}, err)
}

func (b *bare) health(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"status": "healthy", "version": "bare", "timestamp": time.Now().UTC(), "uptime_seconds": int(time.Since(b.started).Seconds())}, nil)
}

func (b *bare) update(w http.ResponseWriter, r *http.Request) {
	var in row
	if err := gojson.NewDecoder(r.Body).Decode(&in); err != nil {
		reply(w, nil, err)
		return
	}
	var l *row
	err := b.write(func() (err error) {
		if l, err = scan(b.last.QueryRow("default", r.PathValue("id"))); err != nil {
			return err
		}
		l.FirstName, l.Company, l.Version, l.UpdatedAt = in.FirstName, in.Company, l.Version+1, time.Now().UTC()
		_, err = b.put.Exec("default", l.ID, l.FirstName, l.Company, l.Version, l.UpdatedAt.UnixMicro())
		return err
	})
	reply(w, map[string]any{"id": r.PathValue("id"), "status": "updated", "data": l}, err)
}
