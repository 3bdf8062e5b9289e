package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"leadloom/internal/crm/connector"
)

// Options say how the simulator behaves. The zero Options serve on a free loopback port, take any key and any field,
// remember nothing after the end and have no limits.
type Options struct {
	Addr        string                // host:port to listen on; 127.0.0.1:0 when empty
	Journal     string                // file that keeps the records; empty: in memory only
	Account     string                // the name it gives itself; "Simulated CRM" when empty
	APIKey      string                // bearer token it wants; empty: none
	ClientID    string                // with ClientSecret: bearer tokens come from POST /oauth/token and expire
	Secret      string                // the client's secret
	TokenLife   time.Duration         // 1 h when 0
	Schema      []connector.FieldSpec // when set, unknown fields, wrong types and unknown options are refused
	MaxBatch    int                   // 1,000 when 0
	PerSecond   int                   // requests a second before 429; 0: no limit
	PerDay      int                   // requests a day before 429 with Retry-After; 0: no limit
	NoBatch     bool                  // it has no batch route
	KeepNoCalls bool                  // requests are not kept for assertions
	Now         func() time.Time      // its own clock; nil means time.Now
}

// Record is a record as it is kept. Fields are what was sent, without the key.
type Record struct {
	ID        string         `json:"id"`
	Key       string         `json:"external_id"`
	Fields    map[string]any `json:"fields"`
	Seq       int64          `json:"seq"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
	Writer    string         `json:"writer"`
	Deleted   bool           `json:"deleted,omitempty"`
	Writes    int            `json:"writes"`
}

// Call is one request as it came in, for assertions.
type Call struct {
	Op     string
	Status int
	Header http.Header
	Keys   []string // records in it
	At     time.Time
}

// Simulator is a running CRM.
type Simulator struct {
	opts     Options
	listener net.Listener
	server   *http.Server

	mu      sync.Mutex
	records map[string]*Record // by key
	replies map[string]reply   // by Idempotency-Key
	seq     int64
	nextID  int64
	calls   []Call
	faults  []*Fault
	counts  map[string]int // calls by operation
	total   int            // calls of any
	tokens  map[string]time.Time
	journal *journal
	window  window
	onCall  func(op string)
	noKeep  bool
	done    chan struct{}
}

type reply struct {
	digest string
	status int
	body   []byte
}

// Start listens and serves until Close.
func Start(o Options) (*Simulator, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Account == "" {
		o.Account = "Simulated CRM"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = 1000
	}
	s := &Simulator{opts: o, records: map[string]*Record{}, replies: map[string]reply{}, counts: map[string]int{}, tokens: map[string]time.Time{}, done: make(chan struct{}), noKeep: o.KeepNoCalls}
	if o.Journal != "" {
		j, err := openJournal(o.Journal, s.replay)
		if err != nil {
			return nil, err
		}
		s.journal = j
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		if s.journal != nil {
			_ = s.journal.close()
		}
		return nil, fmt.Errorf("the CRM simulator cannot listen on %s: %w", o.Addr, err)
	}
	s.listener = l
	s.server = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

// URL is where a person looks at the records.
func (s *Simulator) URL() string { return "http://" + s.listener.Addr().String() }

// APIURL is the base of the API: a connection's api_url.
func (s *Simulator) APIURL() string { return s.URL() + "/api" }

// Addr is the address it listens on, for the guarded client's list of allowed targets.
func (s *Simulator) Addr() netip.AddrPort {
	ap, _ := netip.ParseAddrPort(s.listener.Addr().String())
	return ap
}

// Close stops serving and closes the journal.
func (s *Simulator) Close() error {
	close(s.done) // ends hanging replies
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	if s.journal != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if jerr := s.journal.close(); err == nil {
			err = jerr
		}
	}
	return err
}

// Records lists the records by key, tombstones included.
func (s *Simulator) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Record, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, r.copied())
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// Record finds a record by its key.
func (s *Simulator) Record(key string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[key]
	if r == nil {
		return Record{}, false
	}
	return r.copied(), true
}

// copied is safe to read while the simulator goes on writing.
func (r *Record) copied() Record {
	c := *r
	c.Fields = maps.Clone(r.Fields)
	return c
}

// Count is how many live records there are.
func (s *Simulator) Count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if !r.Deleted {
			n++
		}
	}
	return n
}

// Calls lists every request so far; empty op means all.
func (s *Simulator) Calls(op string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if op == "" || c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

// OnCall sets what is told of each request before it is answered; nil ends it. It must not call the simulator.
func (s *Simulator) OnCall(f func(op string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCall = f
}

// ForgetCalls empties the list of requests; keep=false stops keeping them (for benchmarks and the demo).
func (s *Simulator) ForgetCalls(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.noKeep = nil, !keep
}

// Edit changes a record as a person in the CRM would.
func (s *Simulator) Edit(key string, change func(r *Record)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[key]
	if r == nil {
		return false
	}
	change(r)
	r.Writer = "person"
	s.touch(r)
	return true
}

// SetSchema changes the fields that the CRM has.
func (s *Simulator) SetSchema(fields []connector.FieldSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Schema = fields
}

// SetAPIKey changes the key that the CRM wants.
func (s *Simulator) SetAPIKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.APIKey = key
}

// SetLimits changes how many requests a second and a day the CRM takes; 0 means no limit.
func (s *Simulator) SetLimits(perSecond, perDay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.PerSecond, s.opts.PerDay = perSecond, perDay
}

// touch stamps a record and writes it down. The caller holds the lock.
func (s *Simulator) touch(r *Record) {
	s.seq++
	r.Seq, r.UpdatedAt = s.seq, s.opts.Now().UTC()
	if s.journal != nil {
		s.journal.append(r)
	}
}

func (s *Simulator) replay(line []byte) {
	var r Record
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if d.Decode(&r) != nil || r.Key == "" {
		return
	}
	s.records[r.Key] = &r
	s.seq = max(s.seq, r.Seq)
	var n int64
	if _, err := fmt.Sscanf(r.ID, "rec-%d", &n); err == nil {
		s.nextID = max(s.nextID, n)
	}
}
