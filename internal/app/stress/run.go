package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what is driven and how hard.
type Options struct {
	URL      string        // server, without a path
	CRMURL   string        // what POST /api/crm/config names; the server itself when empty, as the old clients did
	Users    int           // at once
	For      time.Duration // from the first login on
	Ramp     time.Duration // over which users arrive
	PauseMin time.Duration // between two requests of a user; 1 s to 3 s when both are 0
	PauseMax time.Duration
	Username string
	Password string
	Seed     uint64
}

const (
	replyLimit   = 64 << 20
	replyTimeout = 30 * time.Second
	loginTimeout = 90 * time.Second // logins queue by design while passwords are hashed
	reasonLimit  = 8                // different failures remembered per endpoint
)

// user is one client: it logs in once, then asks and pauses.
type user struct {
	opt    Options
	number int
	run    string
	crmURL string
	rand   *rand.Rand
	client *http.Client
	token  string
	sent   int
	stats  []stat
	login  stat
	busy   time.Duration // spent waiting for replies after login
	active time.Duration // from the end of login to the end of the run
}

// stat gathers the replies of one endpoint.
type stat struct {
	hist     Histogram
	failures int64
	reasons  map[string]int64
}

func (s *stat) fail(reason string) {
	s.failures++
	if s.reasons == nil {
		s.reasons = map[string]int64{}
	}
	if _, ok := s.reasons[reason]; !ok && len(s.reasons) >= reasonLimit {
		reason = "other"
	}
	s.reasons[reason]++
}

func (s *stat) merge(o *stat) {
	s.hist.Merge(&o.hist)
	s.failures += o.failures
	if s.reasons == nil {
		s.reasons = map[string]int64{}
	}
	for k, v := range o.reasons {
		s.reasons[k] += v
	}
}

// Run drives the server until the time is over or ctx ends, and reports. It fails only when nobody could log in.
func Run(ctx context.Context, opt Options) (*Report, error) {
	if opt.PauseMin == 0 && opt.PauseMax == 0 {
		opt.PauseMin, opt.PauseMax = time.Second, 3*time.Second
	}
	if opt.CRMURL == "" {
		opt.CRMURL = opt.URL
	}
	if opt.Seed == 0 {
		opt.Seed = rand.Uint64()
	}
	opt.URL = strings.TrimRight(opt.URL, "/")
	transport := &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: opt.Users + 1, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	}
	defer transport.CloseIdleConnections()
	started := time.Now()
	run := fmt.Sprintf("%x", opt.Seed&0xffffff) + fmt.Sprintf("%x", started.Unix()&0xffffff)
	timed, cancel := context.WithTimeout(ctx, opt.For)
	defer cancel()
	users := make([]*user, opt.Users)
	var wg sync.WaitGroup
	for i := range users {
		u := &user{opt: opt, number: i, run: run, crmURL: opt.CRMURL, stats: make([]stat, len(profile)),
			rand: rand.New(rand.NewPCG(opt.Seed, uint64(i))), client: &http.Client{Transport: transport}}
		users[i] = u
		wg.Go(func() { u.live(timed) })
	}
	wg.Wait()
	r := report(opt, users, started, time.Since(started))
	if r.Login.Count == r.Login.Failures {
		return r, fmt.Errorf("nobody could log in at %s: %s", opt.URL, strings.Join(reasonLines(r.Login.Reasons), "; "))
	}
	return r, nil
}

// live is a user's life: arrive, log in, then ask and pause until time is over.
func (u *user) live(ctx context.Context) {
	if !pause(ctx, time.Duration(u.rand.Float64()*float64(u.opt.Ramp))) || !u.logIn(ctx) {
		return
	}
	from := time.Now()
	defer func() { u.active = time.Since(from) }()
	for {
		between := u.opt.PauseMin + time.Duration(u.rand.Float64()*float64(u.opt.PauseMax-u.opt.PauseMin))
		if !pause(ctx, between) {
			return
		}
		i := choose(u.rand)
		e := &profile[i]
		took, _, err := u.ask(e.build(u), replyTimeout, e.status, e.contains)
		u.busy += took
		u.stats[i].hist.Add(took)
		if err != nil {
			u.stats[i].fail(err.Error())
		}
	}
}

func (u *user) logIn(ctx context.Context) bool {
	for ctx.Err() == nil {
		took, body, err := u.ask(call{http.MethodPost, "/api/auth/login", map[string]any{
			"username": u.opt.Username, "password": u.opt.Password}}, loginTimeout, 200, `"access_token"`)
		u.login.hist.Add(took)
		if err != nil {
			u.login.fail(err.Error())
			if !pause(ctx, 2*time.Second) {
				return false
			}
			continue
		}
		var out struct {
			AccessToken string `json:"access_token"`
		}
		if json.Unmarshal(body, &out) != nil || out.AccessToken == "" {
			u.login.fail("reply without access_token")
			return false
		}
		u.token = out.AccessToken
		return true
	}
	return false
}

// ask sends one request, reads the whole reply and says what is wrong with it. A request that was sent is waited for
// even when the run's time is over, so that none is counted as failed because of us.
func (u *user) ask(c call, timeout time.Duration, status int, contains string) (time.Duration, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var body io.Reader
	if c.body != nil {
		b, err := json.Marshal(c.body)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.opt.URL+c.path, body)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	from := time.Now()
	resp, err := u.client.Do(req)
	if err != nil {
		return time.Since(from), nil, reason(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, replyLimit))
	took := time.Since(from)
	switch {
	case err != nil:
		return took, nil, reason(err)
	case resp.StatusCode != status:
		return took, nil, fmt.Errorf("status %d instead of %d%s", resp.StatusCode, status, problemCode(text))
	case !bytes.Contains(text, []byte(contains)):
		return took, nil, fmt.Errorf("status %d without %s in its body", status, contains)
	}
	return took, text, nil
}

// problemCode is the code of a problem document and its first field, for the failure's reason.
func problemCode(body []byte) string {
	var p struct {
		Code   string `json:"code"`
		Errors []struct{ Path, Code string }
	}
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return ""
	}
	if len(p.Errors) > 0 {
		return ": " + p.Code + " at " + p.Errors[0].Path
	}
	return ": " + p.Code
}

// reason shortens a network error to what can be counted.
func reason(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no reply in time")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, syscall.ECONNRESET):
		return errors.New("connection reset")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed before the reply")
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
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
