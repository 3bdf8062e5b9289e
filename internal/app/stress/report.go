package stress

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Figures are what one endpoint, or all, came to. Latencies are in nanoseconds.
type Figures struct {
	Endpoint string           `json:"endpoint"`
	Count    int64            `json:"count"`
	Failures int64            `json:"failures"`
	Mean     time.Duration    `json:"mean_ns"` // service time: from sending to the last byte
	P50      time.Duration    `json:"p50_ns"`
	P95      time.Duration    `json:"p95_ns"`
	P99      time.Duration    `json:"p99_ns"`
	Max      time.Duration    `json:"max_ns"`
	Response Quantiles        `json:"response"`
	Reasons  map[string]int64 `json:"reasons,omitempty"` // failure → count
}

// Quantiles of the response time: from when a request was meant to begin, with those that could not begin because an
// earlier one was waited for.
type Quantiles struct {
	P50  time.Duration `json:"p50_ns"`
	P95  time.Duration `json:"p95_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	Max  time.Duration `json:"max_ns"`
}

// Report is a run's result. All holds everything at full load but the logins, which hash passwords and are reported
// apart, as is what was asked while users arrived.
type Report struct {
	URL       string        `json:"url"`
	Loop      string        `json:"loop"` // closed or open
	Users     int           `json:"users"`
	Sessions  int           `json:"sessions"`
	Seed      uint64        `json:"seed"`
	StartedAt time.Time     `json:"started_at"`
	Ramp      time.Duration `json:"ramp_ns"`
	Arrived   time.Duration `json:"arrived_after_ns"` // when everybody was logged in
	Took      time.Duration `json:"took_ns"`          // of full load
	Rate      float64       `json:"requests_per_second"`
	Ceiling   float64       `json:"ceiling_per_second"` // the most that such users, or the arrivals, can make
	All       Figures       `json:"all"`
	Arriving  Figures       `json:"while_arriving"`
	Login     Figures       `json:"login"`
	Endpoints []Figures     `json:"endpoints"`
	Process   Process       `json:"process"`

	Histogram     []Bar    `json:"histogram"`
	LoginBars     []Bar    `json:"login_histogram"`
	ServiceCurve  []Point  `json:"service_by_quantile"`
	ResponseCurve []Point  `json:"response_by_quantile"`
	OverTime      []Moment `json:"over_time"`
}

func (r *run) report(took time.Duration, p Process) *Report {
	sum := r.fold()
	out := &Report{URL: r.opt.URL, Loop: "closed", Users: r.opt.Users, Sessions: len(r.sessions), Seed: r.opt.Seed, StartedAt: r.started.UTC(),
		Ramp: r.opt.Ramp, Arrived: time.Duration(r.measured.Load()), Took: took, Process: p, OverTime: r.series.moments()}
	for i := range sum.each {
		out.Endpoints = append(out.Endpoints, figures(profile[i].name, &sum.each[i]))
	}
	out.All, out.Arriving, out.Login = figures("all but logins", &sum.all), figures("while users arrived", &sum.arriving), figures("POST /api/auth/login", &sum.login)
	out.Histogram, out.LoginBars = sum.all.service.Bars(), sum.login.service.Bars()
	out.ServiceCurve, out.ResponseCurve = sum.all.service.Curve(), sum.all.response.Curve()
	out.Rate = float64(out.All.Count) / took.Seconds()
	if r.opt.Rate > 0 {
		out.Loop, out.Ceiling = "open", r.opt.Rate
	} else { // the same pauses with replies that take no time
		out.Ceiling = out.Rate * (1 + out.All.Mean.Seconds()/r.every.Seconds())
	}
	return out
}

func figures(name string, s *stat) Figures {
	h, x := &s.service, &s.response
	return Figures{Endpoint: name, Count: h.Count(), Failures: s.failures, Mean: h.Mean(), P50: h.Quantile(0.5),
		P95: h.Quantile(0.95), P99: h.Quantile(0.99), Max: h.Max(), Reasons: s.reasons,
		Response: Quantiles{x.Quantile(0.5), x.Quantile(0.95), x.Quantile(0.99), x.Quantile(0.999), x.Max()}}
}

// Failures counts the failed requests, logins and those of the arrival included.
func (r *Report) Failures() int64 { return r.All.Failures + r.Arriving.Failures + r.Login.Failures }

// rows are all lines of the table, the sums last.
func (r *Report) rows() []Figures {
	return append(slices.Clone(r.Endpoints), r.All, r.Arriving, r.Login)
}

// WriteTable prints the figures for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s\n", r.title())
	p.line("%-34s %8s %6s %9s %9s %9s %9s %9s %9s", "endpoint", "count", "failed", "mean", "p50", "p95", "p99", "max ms", "resp. p99")
	for _, f := range r.rows() {
		if f.Endpoint == r.All.Endpoint {
			p.line("")
		}
		p.line("%-34s %8d %6d %9s %9s %9s %9s %9s %9s", f.Endpoint, f.Count, f.Failures, ms(f.Mean), ms(f.P50), ms(f.P95), ms(f.P99), ms(f.Max), ms(f.Response.P99))
	}
	x := r.All.Response
	p.line("\nresponse time, from when each was meant to begin: p50 %s · p95 %s · p99 %s · p99.9 %s · max %s ms", ms(x.P50), ms(x.P95), ms(x.P99), ms(x.P999), ms(x.Max))
	p.line("%s", r.rates())
	if s := r.process(); s != "" {
		p.line("%s", s)
	}
	for _, line := range r.reasons() {
		p.line("  %s", line)
	}
	return p.err
}

// reasons says of each endpoint why requests failed; of all together only what belongs to none.
func (r *Report) reasons() (out []string) {
	rows := r.rows()
	if unsent, ok := r.All.Reasons[neverSent]; ok {
		out = append(out, fmt.Sprintf("%d × %s", unsent, neverSent))
	}
	for _, f := range rows {
		if f.Endpoint == r.All.Endpoint {
			continue
		}
		for _, line := range reasonLines(f.Reasons) {
			out = append(out, f.Endpoint+": "+line)
		}
	}
	return out
}

func (r *Report) title() string {
	arrived := fmt.Sprintf("%d logins within %.1f s", r.Sessions, r.Arrived.Seconds())
	if r.Loop == "open" {
		return fmt.Sprintf("open loop: %.0f requests/s over %d connections for %.0f s at %s, after %s (seed %d)", r.Ceiling, r.Users, r.Took.Seconds(), r.URL, arrived, r.Seed)
	}
	return fmt.Sprintf("%d users for %.0f s at %s, after %s (seed %d)", r.Users, r.Took.Seconds(), r.URL, arrived, r.Seed)
}

func (r *Report) rates() string {
	of := "that these users' pauses allow"
	if r.Loop == "open" {
		of = "that arrived"
	}
	return fmt.Sprintf("%.1f requests/s of the %.1f %s (%.2f %%); %d failures", r.Rate, r.Ceiling, of, r.share(), r.Failures())
}

func (r *Report) share() float64 { return 100 * r.Rate / max(r.Ceiling, 1e-9) }

// process says what the run has cost, as far as the server tells.
func (r *Report) process() string {
	if r.Process.MemoryPeak == 0 || r.All.Count == 0 {
		return ""
	}
	each := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1e3/float64(r.All.Count)) }
	return fmt.Sprintf("server: %s MB before, %s with all users, at most %s; %s ms of CPU a request; this client %s",
		mb(r.Process.MemoryBefore), mb(r.Process.MemoryFull), mb(r.Process.MemoryPeak), each(r.Process.CPU), each(r.Process.ClientCPU))
}

// WriteJSON prints the whole report, latencies in nanoseconds.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

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

func mb(bytes int64) string { return fmt.Sprintf("%.0f", float64(bytes)/1e6) }

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
