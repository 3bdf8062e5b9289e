package stress

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"runtime"
	"slices"
	"time"
)

// Figures are what one endpoint, or all, came to. Latencies are in nanoseconds.
type Figures struct {
	Endpoint string           `json:"endpoint"`
	Count    int64            `json:"count"`
	Failures int64            `json:"failures"`
	Mean     time.Duration    `json:"mean_ns"`
	P50      time.Duration    `json:"p50_ns"`
	P95      time.Duration    `json:"p95_ns"`
	P99      time.Duration    `json:"p99_ns"`
	Max      time.Duration    `json:"max_ns"`
	Reasons  map[string]int64 `json:"reasons,omitempty"` // failure → count
}

// Report is a run's result. All holds everything but the logins, which hash passwords and are reported apart.
type Report struct {
	URL        string        `json:"url"`
	Users      int           `json:"users"`
	Seed       uint64        `json:"seed"`
	StartedAt  time.Time     `json:"started_at"`
	Took       time.Duration `json:"took_ns"`
	Rate       float64       `json:"requests_per_second"` // while users were logged in
	Ceiling    float64       `json:"ceiling_per_second"`  // the most that such users can make with their pauses
	All        Figures       `json:"all"`
	Login      Figures       `json:"login"`
	Endpoints  []Figures     `json:"endpoints"`
	Histogram  []Bar         `json:"histogram"`
	LoginBars  []Bar         `json:"login_histogram"`
	ClientCPUs int           `json:"client_cpus"`
}

func report(opt Options, users []*user, started time.Time, took time.Duration) *Report {
	r := &Report{URL: opt.URL, Users: opt.Users, Seed: opt.Seed, StartedAt: started.UTC(), Took: took, ClientCPUs: runtime.NumCPU()}
	var all, login stat
	each := make([]stat, len(profile))
	var active, busy time.Duration
	for _, u := range users {
		login.merge(&u.login)
		active += u.active
		busy += u.busy
		for i := range u.stats {
			each[i].merge(&u.stats[i])
		}
	}
	for i := range each {
		all.merge(&each[i])
		r.Endpoints = append(r.Endpoints, figures(profile[i].name, &each[i]))
	}
	r.All, r.Login = figures("all but logins", &all), figures("POST /api/auth/login", &login)
	r.Histogram, r.LoginBars = all.hist.Bars(), login.hist.Bars()
	if active > 0 {
		perUser := float64(all.hist.Count()) / active.Seconds()
		r.Rate = perUser * float64(opt.Users)
		if idle := (active - busy).Seconds(); idle > 0 { // the same pauses with replies that take no time
			r.Ceiling = float64(all.hist.Count()) / idle * float64(opt.Users)
		}
	}
	return r
}

func figures(name string, s *stat) Figures {
	h := &s.hist
	return Figures{Endpoint: name, Count: h.Count(), Failures: s.failures, Mean: h.Mean(), P50: h.Quantile(0.5),
		P95: h.Quantile(0.95), P99: h.Quantile(0.99), Max: h.Max(), Reasons: s.reasons}
}

// Failures counts the failed requests, logins included.
func (r *Report) Failures() int64 { return r.All.Failures + r.Login.Failures }

// WriteTable prints the figures for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%d users for %.0f s at %s (seed %d)\n", r.Users, r.Took.Seconds(), r.URL, r.Seed)
	p.line("%-34s %8s %6s %9s %9s %9s %9s %9s", "endpoint", "count", "failed", "mean", "p50", "p95", "p99", "max ms")
	for _, f := range append(slices.Clone(r.Endpoints), r.All, r.Login) {
		if f.Endpoint == r.All.Endpoint {
			p.line("")
		}
		p.line("%-34s %8d %6d %9s %9s %9s %9s %9s", f.Endpoint, f.Count, f.Failures, ms(f.Mean), ms(f.P50), ms(f.P95), ms(f.P99), ms(f.Max))
	}
	share := 0.0
	if r.Ceiling > 0 {
		share = 100 * r.Rate / r.Ceiling
	}
	p.line("\n%.1f requests/s of the %.1f that these users' pauses allow (%.2f %%); %d failures", r.Rate, r.Ceiling, share, r.Failures())
	for _, f := range append(slices.Clone(r.Endpoints), r.Login) {
		for _, line := range reasonLines(f.Reasons) {
			p.line("  %s: %s", f.Endpoint, line)
		}
	}
	return p.err
}

// WriteJSON prints the whole report, latencies in nanoseconds.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteHTML prints one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// reasonLines lists failures, the most frequent first.
func reasonLines(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return int(m[b] - m[a]) })
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%d × %s", m[k], k)
	}
	return keys
}

// column is a drawn bar: x, height and label.
type column struct {
	X, Y, Height int
	Label        string
	Tip          string
}

// columns places bars in a drawing 160 high, 24 wide each.
func columns(bars []Bar) []column {
	var most int64 = 1
	for _, b := range bars {
		most = max(most, b.Count)
	}
	out := make([]column, len(bars))
	for i, b := range bars {
		h := int(b.Count * 160 / most)
		if b.Count > 0 {
			h = max(h, 1)
		}
		out[i] = column{X: i * 24, Y: 160 - h, Height: h, Tip: fmt.Sprintf("%s to %s ms: %d", ms(b.From), ms(b.To), b.Count)}
		if i%4 == 0 {
			out[i].Label = ms(b.From)
		}
	}
	return out
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": ms, "columns": columns, "reasons": reasonLines,
	"width": func(b []Bar) int { return len(b)*24 + 40 },
	"share": func(r *Report) string { return fmt.Sprintf("%.2f", 100*r.Rate/max(r.Ceiling, 1e-9)) },
}).Parse(pageText))
