package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRun_CountsWhatTheServerAnswered(t *testing.T) {
	var served, logins, refused atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/api/auth/login" {
			logins.Add(1)
			io.WriteString(w, `{"access_token":"t"}`)
			return
		}
		if r.URL.Path == "/metrics" && r.Header.Get("Authorization") == "" { // the watch on the server's memory
			io.WriteString(w, "# \nprocess_resident_memory_bytes 5.5e+07\nprocess_cpu_seconds_total 2\n")
			return
		}
		served.Add(1)
		if r.Header.Get("Authorization") != "Bearer t" {
			t.Errorf("%s without the login's token", r.URL.Path)
		}
		switch {
		case r.URL.Path == "/api/nonexistent":
			w.WriteHeader(404)
			io.WriteString(w, `{"code":"not_found"}`)
		case r.Method == "PUT":
			refused.Add(1)
			w.WriteHeader(422)
			io.WriteString(w, `{"code":"invalid","errors":[{"path":"body.phone","code":"invalid"}]}`)
		default:
			io.WriteString(w, `<# "execution_id" "leads" "status" "workflow_id" "id" "username" "campaigns" "email" [ "metrics" "campaign-1" "configured" "openapi"`)
		}
	}))
	defer srv.Close()
	r, err := Run(context.Background(), Options{URL: srv.URL, Users: 20, For: 700 * time.Millisecond,
		PauseMin: time.Millisecond, PauseMax: 3 * time.Millisecond, Username: "admin", Password: "x", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	if r.All.Count+r.Arriving.Count != served.Load() || r.Login.Count != logins.Load() || logins.Load() != 20 {
		t.Errorf("counted %d requests and %d logins; the server answered %d and %d", r.All.Count+r.Arriving.Count, r.Login.Count, served.Load(), logins.Load())
	}
	if r.Failures() != refused.Load() || refused.Load() == 0 {
		t.Errorf("%d failures; want the %d refused PUTs and no more", r.Failures(), refused.Load())
	}
	var table, page, js bytes.Buffer
	for _, err := range []error{r.WriteTable(&table), r.WriteHTML(&page), r.WriteJSON(&js)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(table.String(), "status 422 instead of 200: invalid at body.phone") {
		t.Errorf("the table does not say why the PUTs failed:\n%s", table.String())
	}
	for _, foreign := range []string{"http-equiv", "<script", "src=", "href="} {
		if strings.Contains(page.String(), foreign) {
			t.Errorf("the page is not self-contained: it has %s", foreign)
		}
	}
	if !json.Valid(js.Bytes()) {
		t.Error("the JSON report is not JSON")
	}
}

func TestRun_NobodyLogsIn(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := Run(context.Background(), Options{URL: srv.URL, Users: 2, For: 50 * time.Millisecond, PauseMin: 1, PauseMax: time.Millisecond, Username: "a", Password: "b"})
	if err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("error %v; want one that says what the login answered", err)
	}
}

func TestChoose_FollowsTheWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	got := make([]int, len(profile))
	const n = 100_000
	for range n {
		got[choose(r)]++
	}
	for i, e := range profile {
		want := float64(e.weight) * n / float64(totalWeight)
		if d := float64(got[i]) - want; d > want/10 || d < -want/10 {
			t.Errorf("%s: chosen %d times of %d; want about %.0f", e.name, got[i], n, want)
		}
	}
}
