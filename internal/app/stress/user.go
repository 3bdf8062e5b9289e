package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// user is one client: it logs in, or takes a session that another has made, then asks and pauses.
type user struct {
	run     *run
	number  int
	rand    *rand.Rand
	conn    conn
	session *session
	owns    bool // makes the session
	patient bool // tries again when its login is refused
	sent    int
	book    *book
}

// enter waits for the user's session, or makes it; false when there is none.
func (u *user) enter(ctx context.Context) bool {
	if u.owns {
		u.session.token = u.logIn(ctx)
		close(u.session.ready)
		return u.session.token != ""
	}
	select {
	case <-u.session.ready:
		return u.session.token != ""
	case <-ctx.Done():
		return false
	}
}

// live asks and pauses until the time is over. A request is meant to begin when the pause ends: what comes between,
// this process being late, is part of its response time.
func (u *user) live(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	<-t.C
	for ended := time.Now(); ; {
		meant := ended.Add(u.run.opt.PauseMin + time.Duration(u.rand.Float64()*float64(u.run.opt.PauseMax-u.run.opt.PauseMin)))
		t.Reset(time.Until(meant))
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if ctx.Err() != nil {
			return
		}
		ended = u.work(meant)
	}
}

// work sends one request of the profile, meant to begin at a time, and books it.
func (u *user) work(meant time.Time) (ended time.Time) {
	i := choose(u.rand)
	e := &profile[i]
	sent := time.Now()
	err := u.ask(e.build(u), replyTimeout, e.status, e.contains, nil)
	ended = time.Now()
	u.run.record(u.book, i, meant, sent, ended, err)
	return ended
}

// logIn gives a token, or "" when there is no more time. A refusal is a failure; a patient user tries again
// some times.
func (u *user) logIn(ctx context.Context) (token string) {
	c := call{http.MethodPost, "/api/auth/login", credentials(u.run.opt.Username, u.run.opt.Password)}
	for tries := 0; ctx.Err() == nil && tries < loginTries; tries++ {
		sent := time.Now()
		err := u.ask(c, loginTimeout, 200, `"access_token"`, func(body []byte) error {
			token = accessToken(body)
			if token == "" {
				return fmt.Errorf("reply without access_token")
			}
			return nil
		})
		u.book.addLogin(time.Since(sent), err)
		if err == nil {
			return token
		}
		token = ""
		if !u.patient || !pause(ctx, u.run.opt.PauseMax) {
			break
		}
	}
	return ""
}

func credentials(username, password string) []byte {
	b, _ := json.Marshal(map[string]string{"username": username, "password": password}) // strings always encode
	return b
}

func accessToken(body []byte) string {
	var out struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(body, &out) != nil {
		return ""
	}
	return out.AccessToken
}

// ask sends one request, reads the whole reply and says what is wrong with it. A request that was sent is waited for
// even when the run's time is over, so that none is counted as failed because of us.
func (u *user) ask(c call, timeout time.Duration, status int, contains string, then func(body []byte) error) error {
	b := buffers.Get().(*buffer)
	defer b.release()
	b.out = appendRequest(b.out[:0], u.conn.target.host, u.session.token, c)
	r, err := u.conn.exchange(b.out, timeout, b)
	switch {
	case err != nil:
		return reason(err)
	case r.status != status:
		return fmt.Errorf("status %d instead of %d%s", r.status, status, problemCode(r.body))
	case !bytes.Contains(r.body, []byte(contains)):
		return fmt.Errorf("status %d without %s in its body", status, contains)
	case then != nil:
		return then(r.body)
	}
	return nil
}

func appendRequest(b []byte, host, token string, c call) []byte {
	b = append(b, c.method...)
	b = append(b, ' ')
	b = append(b, c.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nUser-Agent: leadloom-bench\r\n"...)
	if token != "" {
		b = append(b, "Authorization: Bearer "...)
		b = append(b, token...)
		b = append(b, "\r\n"...)
	}
	if c.body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(c.body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, c.body...)
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
