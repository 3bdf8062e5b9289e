package stress

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// FloodOptions say who floods the logins and who must come through.
type FloodOptions struct {
	URL         string
	Connections int
	Names       []string      // of users whose logins are attacked, half of them with their right password
	Password    string        // the right one, of attacked users and victims
	Addresses   int           // loopback addresses that the flood comes from
	Victims     []string      // users who are not attacked and log in with the right password meanwhile, from elsewhere
	Every       time.Duration // between two logins of a victim
	Seed        uint64
}

// FloodReport is what came of the logins.
type FloodReport struct {
	Answers       map[int]int64 `json:"answers"`             // of the flood, by status; 0: no answer
	NoRetryAfter  int64         `json:"without_retry_after"` // 429 and 503 that lacked it
	WrongAccepted int64         `json:"wrong_accepted"`      // 200 for a wrong password
	Victims       Figures       `json:"victims"`             // right logins of users who are not attacked
}

// flood is a flood while it lasts.
type flood struct {
	opt     FloodOptions
	target  target
	mu      sync.Mutex
	report  FloodReport
	victims stat
}

// Flood logs in on all its connections, each at once again when it has an answer, until ctx ends.
func Flood(ctx context.Context, o FloodOptions) (*FloodReport, error) {
	t, err := parseTarget(o.URL)
	if err != nil {
		return nil, err
	}
	f := &flood{opt: o, target: t, report: FloodReport{Answers: map[int]int64{}}}
	var all sync.WaitGroup
	local := isLoopback(t.addr)
	for i := range o.Connections {
		c := conn{target: t}
		if local {
			c.local = source(100*250 + i%max(o.Addresses, 1)) // 127.0.101.1 and on
		}
		all.Go(func() { f.attack(ctx, i, c) })
	}
	for i, name := range o.Victims {
		c := conn{target: t}
		if local {
			c.local = net.IPv4(127, 0, 200, byte(1+i%250))
		}
		all.Go(func() { f.comeThrough(ctx, name, c) })
	}
	all.Wait()
	f.report.Victims = figures("logins of users who are not attacked", &f.victims)
	return &f.report, nil
}

// attack sends right and wrong passwords of one user after another. What it has begun is waited for.
func (f *flood) attack(ctx context.Context, number int, c conn) {
	defer c.close()
	random := rand.New(rand.NewPCG(f.opt.Seed, uint64(number)))
	for ctx.Err() == nil {
		right := random.IntN(2) == 0
		password := f.opt.Password
		if !right {
			password = fmt.Sprintf("guess %d", random.Uint32())
		}
		r, _, err := f.logIn(&c, f.opt.Names[random.IntN(len(f.opt.Names))], password)
		f.mu.Lock()
		if err != nil {
			r.status = 0
		}
		f.report.Answers[r.status]++
		if (r.status == 429 || r.status == 503) && !r.retryAfter {
			f.report.NoRetryAfter++
		}
		if r.status == 200 && !right {
			f.report.WrongAccepted++
		}
		f.mu.Unlock()
		if err != nil && !pause(ctx, 100*time.Millisecond) { // a server that is gone is not asked in a tight loop
			return
		}
	}
}

// comeThrough logs in as somebody who has nothing to do with the flood.
func (f *flood) comeThrough(ctx context.Context, name string, c conn) {
	defer c.close()
	for ctx.Err() == nil {
		r, took, err := f.logIn(&c, name, f.opt.Password)
		if err == nil && r.status != 200 {
			err = fmt.Errorf("status %d instead of 200", r.status)
		}
		f.mu.Lock()
		f.victims.add(took, took, 0, err)
		f.mu.Unlock()
		if !pause(ctx, f.opt.Every) {
			return
		}
	}
}

// logIn sends one login; the reply's body is not kept.
func (f *flood) logIn(c *conn, name, password string) (r reply, took time.Duration, err error) {
	b := buffers.Get().(*buffer)
	defer b.release()
	b.out = appendRequest(b.out[:0], c.target.host, "", call{http.MethodPost, "/api/auth/login", credentials(name, password)})
	from := time.Now()
	r, err = c.exchange(b.out, loginTimeout, b)
	r.body = nil
	if err != nil {
		err = reason(err)
	}
	return r, time.Since(from), err
}

// WriteTable prints the figures for a terminal.
func (r *FloodReport) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	statuses := slices.Sorted(maps.Keys(r.Answers))
	var parts []string
	for _, s := range statuses {
		parts = append(parts, fmt.Sprintf("%d × %d", r.Answers[s], s))
	}
	p.line("the flood's answers: %s; %d refusals without Retry-After, %d wrong passwords accepted", strings.Join(parts, ", "), r.NoRetryAfter, r.WrongAccepted)
	v := r.Victims
	p.line("%s: %d, %d failed, mean %s · p95 %s · max %s ms", v.Endpoint, v.Count, v.Failures, ms(v.Mean), ms(v.P95), ms(v.Max))
	for _, line := range reasonLines(v.Reasons) {
		p.line("  %s", line)
	}
	return p.err
}

// MakeUsers lets an administrator make users, one after another. They can do little: they are there to log in.
func MakeUsers(ctx context.Context, url, admin, adminPassword string, names []string, password string) error {
	t, err := parseTarget(url)
	if err != nil {
		return err
	}
	u := &user{run: &run{opt: Options{Username: admin, Password: adminPassword}}, conn: conn{target: t}, session: &session{}, book: &book{}}
	defer u.conn.close()
	if u.session.token = u.logIn(ctx); u.session.token == "" {
		return fmt.Errorf("%s cannot log in: %s", admin, strings.Join(reasonLines(u.book.login.reasons), "; "))
	}
	for _, name := range names {
		body := fmt.Appendf(nil, `{"username":%q,"email":"%s@example.com","role":"guest","password":%q}`, name, name, password)
		if err := u.ask(call{http.MethodPost, "/api/users", body}, loginTimeout, 200, `"id"`, nil); err != nil {
			return fmt.Errorf("make the user %s: %w", name, err)
		}
	}
	return nil
}
