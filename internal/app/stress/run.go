package stress

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what is driven and how hard.
type Options struct {
	URL      string        // server, without a path
	CRMURL   string        // what POST /api/crm/config names; the server itself when empty, as the old clients did
	Users    int           // at once, each with a connection of its own
	Sessions int           // logins that the users share; one each when 0
	Rate     float64       // open loop: requests a second, whatever the replies do; 0: each user asks, waits and pauses
	For      time.Duration // from when everybody has arrived
	Ramp     time.Duration // over which users arrive
	PauseMin time.Duration // between two requests of a user; 1 s to 3 s when both are 0
	PauseMax time.Duration
	Username string
	Password string
	Seed     uint64
	Arrived  func() // called when everybody has arrived; nil: nobody
}

const (
	replyLimit   = 64 << 20
	replyTimeout = 30 * time.Second
	loginTimeout = 90 * time.Second // logins queue by design while passwords are hashed
	loginTries   = 10
	reasonLimit  = 8 // different failures remembered per endpoint
)

// run is one run while it lasts.
type run struct {
	opt      Options
	id       string // makes the leads of this run its own
	target   target
	every    time.Duration // that a user asks when replies take no time: the correction's interval
	started  time.Time
	measured atomic.Int64 // ns after started from which replies count as full load; 0 while users arrive
	books    [shards]book
	series   *series
	sessions []session
}

// session is a login that one or more users share.
type session struct {
	ready chan struct{}
	token string // empty: there is none
}

// Run drives the server until the time is over or ctx ends, and reports. It fails only when nobody could log in.
func Run(ctx context.Context, opt Options) (*Report, error) {
	opt = opt.withDefaults()
	t, err := parseTarget(opt.URL)
	if err != nil {
		return nil, err
	}
	r := &run{opt: opt, target: t, started: time.Now(), sessions: make([]session, min(opt.Sessions, opt.Users)), series: newSeries(opt.Ramp + opt.For)}
	r.id = fmt.Sprintf("%x%x", opt.Seed&0xffffff, r.started.Unix()&0xffffff)
	if opt.Rate == 0 {
		r.every = (opt.PauseMin + opt.PauseMax) / 2
	}
	for i := range r.sessions {
		r.sessions[i].ready = make(chan struct{})
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	watch := watchServer(ctx, t)
	arrivals := r.arriveAndWork(working)
	arrived(working, arrivals.in, opt.Ramp+loginTimeout)
	r.measured.Store(int64(max(time.Since(r.started), 1)))
	watch.mark()
	if opt.Arrived != nil {
		opt.Arrived()
	}
	from := time.Now()
	if opt.Rate > 0 {
		r.openLoop(ctx, from, arrivals.users)
	} else {
		pause(ctx, opt.For)
	}
	took := time.Since(from)
	stop()
	arrivals.out.Wait()
	out := r.report(took, watch.end())
	if out.Login.Count == out.Login.Failures {
		return out, fmt.Errorf("nobody could log in at %s: %s", opt.URL, strings.Join(reasonLines(out.Login.Reasons), "; "))
	}
	return out, nil
}

func (o Options) withDefaults() Options {
	if o.PauseMin == 0 && o.PauseMax == 0 {
		o.PauseMin, o.PauseMax = time.Second, 3*time.Second
	}
	o.URL = strings.TrimRight(o.URL, "/")
	if o.CRMURL == "" {
		o.CRMURL = o.URL
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Sessions == 0 {
		o.Sessions = o.Users
	}
	return o
}

// arriving is the crowd: in is done when each is logged in or has given up, out when each has gone.
type arriving struct {
	users   []*user
	in, out *sync.WaitGroup
}

func (r *run) arriveAndWork(ctx context.Context) arriving {
	a := arriving{users: make([]*user, r.opt.Users), in: &sync.WaitGroup{}, out: &sync.WaitGroup{}}
	a.in.Add(r.opt.Users)
	for i := range a.users {
		u := &user{run: r, number: i, session: &r.sessions[i%len(r.sessions)], owns: i < len(r.sessions), patient: true,
			rand: rand.New(rand.NewPCG(r.opt.Seed, uint64(i))), conn: conn{target: r.target}, book: &r.books[i%shards]}
		a.users[i] = u
		// Evenly, each somewhere in his own slot: logins come one by one, as passwords are hashed.
		at := time.Duration((float64(i) + u.rand.Float64()) / float64(r.opt.Users) * float64(r.opt.Ramp))
		a.out.Go(func() {
			ok := pause(ctx, at) && u.enter(ctx)
			a.in.Done()
			if ok && r.opt.Rate == 0 {
				u.live(ctx)
			}
			if r.opt.Rate == 0 {
				u.conn.close()
			}
		})
	}
	return a
}

// arrived waits for the crowd, but not for ever.
func arrived(ctx context.Context, in *sync.WaitGroup, atMost time.Duration) {
	done := make(chan struct{})
	go func() { in.Wait(); close(done) }()
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// pause waits, unless the run ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
