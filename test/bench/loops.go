package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"leadloom/internal/account"
)

// loopOrder asks for a bare loop: so many things, so many at once.
type loopOrder struct {
	Target string        `json:"target"`
	Count  int           `json:"count"`
	AtOnce int           `json:"at_once"`
	Batch  int           `json:"batch"`
	For    time.Duration `json:"for_ns"`
	Round  int           `json:"round"`
}

// loopResult is what it came to.
type loopResult struct {
	Count   int64   `json:"count"`
	Took    int64   `json:"took_us"`
	Latency []int64 `json:"latency"` // µs
}

// newLoops serves the bare client loops; a process of its own, so that their processor time can be told.
func newLoops(string) (http.Handler, error) {
	mux := http.NewServeMux()
	for path, do := range map[string]func(loopOrder, *tally) error{"/smtp": smtpLoop, "/crm": crmLoop, "/hash": hashLoop} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var o loopOrder
			if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
				answer(w, nil, err)
				return
			}
			t, began := &tally{}, time.Now()
			err := do(o, t)
			answer(w, loopResult{int64(len(t.latency)), time.Since(began).Microseconds(), t.latency}, err)
		})
	}
	return mux, nil
}

// tally gathers latencies of several goroutines.
type tally struct {
	mu      sync.Mutex
	latency []int64
}

func (t *tally) add(since time.Time) {
	us := time.Since(since).Microseconds()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latency = append(t.latency, us)
}

// together runs fn in n goroutines and joins their errors.
func together(n int, fn func() error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// letterText is a message of the size that the campaign of the leg makes.
var letterText = "From: Bench <hello@sender.example>\r\nTo: %s\r\nSubject: Hi Ada\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
	strings.ReplaceAll(campaignHTML, ". ", ".\r\n") + "\r\n" + strings.ReplaceAll(campaignHTML, ". ", ".\r\n") + "\r\n"

// smtpLoop hands messages over, one dialogue after another on each connection, as net/smtp does it.
func smtpLoop(o loopOrder, t *tally) error {
	var next atomic.Int64
	return together(o.AtOnce, func() error {
		c, err := smtp.Dial(o.Target)
		if err != nil {
			return err
		}
		defer c.Close()
		for n := next.Add(1); n <= int64(o.Count); n = next.Add(1) {
			from := time.Now()
			to := fmt.Sprintf("p%06d@example.com", n)
			if err := c.Mail("hello@sender.example"); err != nil {
				return err
			}
			if err := c.Rcpt(to); err != nil {
				return err
			}
			w, err := c.Data()
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, letterText, to); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			t.add(from)
		}
		return c.Quit()
	})
}

// crmLoop sends batches one after another, as one connection's drain does.
func crmLoop(o loopOrder, t *tally) error {
	client := &http.Client{Timeout: time.Minute}
	for from := 0; from < o.Count; from += o.Batch {
		records := make([]map[string]any, 0, o.Batch)
		for i := from; i < min(from+o.Batch, o.Count); i++ {
			records = append(records, map[string]any{"external_id": fmt.Sprintf("bare-%d", i), "first_name": "Ada", "last_name": "Lovelace", "email": fmt.Sprintf("drain.%d@example.com", i),
				"company": fmt.Sprintf("Engines %d", o.Round), "source": "drain", "status": "new", "score": 0})
		}
		body, err := json.Marshal(map[string]any{"records": records})
		if err != nil {
			return err
		}
		req, err := http.NewRequest("POST", "http://"+o.Target+"/api/leads/batch", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprintf("bare-%d-%d-%d", o.Round, from, time.Now().UnixNano()))
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(resp.Body)
		if cerr := resp.Body.Close(); err != nil || cerr != nil || resp.StatusCode != http.StatusOK {
			return errors.Join(fmt.Errorf("status %d: %.300s", resp.StatusCode, got), err, cerr)
		}
		t.add(began)
	}
	return nil
}

// hashLoop hashes passwords as the product does, and nothing else.
func hashLoop(o loopOrder, t *tally) error {
	until := time.Now().Add(o.For)
	return together(o.AtOnce, func() error {
		for time.Now().Before(until) {
			from := time.Now()
			if _, err := account.HashPassword(account.DefaultHashParams, benchPassword); err != nil {
				return err
			}
			t.add(from)
		}
		return nil
	})
}
