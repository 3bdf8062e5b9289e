package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"leadloom/internal/account"
	"leadloom/internal/service"
)

// EndpointFigures are the latencies of one route, in milliseconds since the start of the process.
type EndpointFigures struct {
	Count      int64   `json:"count"`
	Failed     int64   `json:"failed" doc:"Answered with 5xx."`
	AvgLatency float64 `json:"avg_latency_ms"`
	MaxLatency float64 `json:"max_latency_ms"`
	P50        float64 `json:"p50"`
	P95        float64 `json:"p95"`
	P99        float64 `json:"p99"`
}

func figures(l latencies) EndpointFigures {
	return EndpointFigures{Count: l.count, Failed: l.failed, AvgLatency: ms(l.mean()), MaxLatency: ms(l.max),
		P50: ms(l.quantile(.5)), P95: ms(l.quantile(.95)), P99: ms(l.quantile(.99))}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type metricsOutput struct {
	Body struct {
		RequestsTotal  int64                      `json:"requests_total"`
		RequestsFailed int64                      `json:"requests_failed" doc:"Answered with 5xx."`
		AvgLatency     float64                    `json:"avg_latency_ms"`
		MaxLatency     float64                    `json:"max_latency_ms"`
		P50            float64                    `json:"p50" doc:"Milliseconds, since the start of the process."`
		P95            float64                    `json:"p95"`
		P99            float64                    `json:"p99"`
		Uptime         float64                    `json:"uptime_seconds"`
		QueueDepth     int64                      `json:"queue_depth" doc:"Jobs that could run now, and running ones."`
		QueueAge       float64                    `json:"queue_age_seconds" doc:"Of the oldest job that could run now."`
		Endpoints      map[string]EndpointFigures `json:"endpoints" doc:"By method and path."`
		Timestamp      time.Time                  `json:"timestamp"`
	}
}

func (a *API) metrics() {
	a.exporter = a.prometheus()
	if !a.MetricsElsewhere {
		a.plain(Route{Method: "GET", Path: "/metrics", ID: "get-prometheus-metrics", Tag: "System", Summary: "Metrics for Prometheus", Permission: account.Public, Quiet: true},
			"text/plain", nil, func(w http.ResponseWriter, r *http.Request, _ account.Scope) { a.exporter.ServeHTTP(w, r) })
	}
	register(a, Route{Method: "GET", Path: "/api/metrics", ID: "get-metrics", Tag: "System", Summary: "Metrics as JSON", Permission: account.AnalyticsRead},
		func(context.Context, account.Scope, *struct{}) (*metricsOutput, error) {
			out := &metricsOutput{}
			b := &out.Body
			t := figures(a.requests.total())
			b.RequestsTotal, b.RequestsFailed, b.AvgLatency, b.MaxLatency, b.P50, b.P95, b.P99 = t.Count, t.Failed, t.AvgLatency, t.MaxLatency, t.P50, t.P95, t.P99
			b.Uptime = a.Services.System.Uptime().Seconds()
			health := a.Services.System.Health()
			b.QueueDepth, b.QueueAge = health.QueueDepth, max(0, health.QueueAge.Seconds())
			b.Endpoints = map[string]EndpointFigures{}
			a.requests.each(func(route string, l latencies) { b.Endpoints[route] = figures(l) })
			b.Timestamp = a.Now().UTC()
			return out, nil
		})
}

// MetricsHandler serves /metrics alone, for an address that only the monitoring reaches.
func (a *API) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.exporter)
	return mux
}

// prometheus builds the exporter: the process's own figures and ours.
func (a *API) prometheus() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{a})
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// collector turns the figures that are kept anyway into Prometheus's at the moment of scraping. No label holds a
// tenant's or a lead's id.
type collector struct{ a *API }

var (
	descRequests = prometheus.NewDesc("leadloom_http_requests_total", "Requests by route and class of status.", []string{"route", "class"}, nil)
	descLatency  = prometheus.NewDesc("leadloom_http_request_seconds", "Time to answer, by route.", []string{"route"}, nil)
	descHealth   = prometheus.NewDesc("leadloom_health", "1 healthy, 0.5 degraded, 0 unhealthy, by component.", []string{"component"}, nil)
	descJobs     = prometheus.NewDesc("leadloom_queue_jobs", "Jobs that are not over, and dead ones, by queue, kind and state.", []string{"queue", "kind", "state"}, nil)
	descJobAge   = prometheus.NewDesc("leadloom_queue_oldest_seconds", "Age of the oldest job that could run now, by queue and kind.", []string{"queue", "kind"}, nil)
	descAttempts = prometheus.NewDesc("leadloom_queue_attempts_total", "Finished attempts by kind and outcome.", []string{"kind", "outcome"}, nil)
	descWaited   = prometheus.NewDesc("leadloom_queue_waited_seconds_total", "Time that jobs waited after they were due, by kind and outcome.", []string{"kind", "outcome"}, nil)
	descTook     = prometheus.NewDesc("leadloom_queue_worked_seconds_total", "Time that attempts took, by kind and outcome.", []string{"kind", "outcome"}, nil)
	descCommits  = prometheus.NewDesc("leadloom_writer_commits_total", "Commits of SQLite's writer.", nil, nil)
	descWrites   = prometheus.NewDesc("leadloom_writer_requests_total", "Write requests that shared those commits.", nil, nil)
	descBusy     = prometheus.NewDesc("leadloom_writer_busy_seconds_total", "Time that the writer worked.", nil, nil)
	descBacklog  = prometheus.NewDesc("leadloom_writer_waiting", "Write requests that wait for the writer now.", nil, nil)
	descCommit   = prometheus.NewDesc("leadloom_database_commit_seconds", "Time of the last empty commit.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descLatency, descHealth, descJobs, descJobAge, descAttempts, descWaited, descTook,
		descCommits, descWrites, descBusy, descBacklog, descCommit} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.collectRequests(ch)
	sys := c.a.Services.System
	c.collectHealth(ch, sys)
	for k, t := range sys.JobTotals() {
		ch <- prometheus.MustNewConstMetric(descAttempts, prometheus.CounterValue, float64(t.Count), k.Kind, k.Outcome)
		ch <- prometheus.MustNewConstMetric(descWaited, prometheus.CounterValue, t.Waited.Seconds(), k.Kind, k.Outcome)
		ch <- prometheus.MustNewConstMetric(descTook, prometheus.CounterValue, t.Took.Seconds(), k.Kind, k.Outcome)
	}
	w := sys.Writer()
	ch <- prometheus.MustNewConstMetric(descCommits, prometheus.CounterValue, float64(w.Batches))
	ch <- prometheus.MustNewConstMetric(descWrites, prometheus.CounterValue, float64(w.Requests))
	ch <- prometheus.MustNewConstMetric(descBusy, prometheus.CounterValue, w.Busy.Seconds())
	ch <- prometheus.MustNewConstMetric(descBacklog, prometheus.GaugeValue, float64(w.Waiting))
}

func (c *collector) collectRequests(ch chan<- prometheus.Metric) {
	c.a.requests.each(func(route string, l latencies) {
		for class, n := range l.byStatus {
			if n > 0 {
				ch <- prometheus.MustNewConstMetric(descRequests, prometheus.CounterValue, float64(n), route, strconv.Itoa(class)+"xx")
			}
		}
		cumulative, buckets := uint64(0), map[float64]uint64{}
		for i, n := range l.buckets[:bucketCount] {
			cumulative += uint64(n)
			if (i+1)%(2*boundsPerTwo) == 0 { // every second power of two is enough for a dashboard
				buckets[bounds[i].Seconds()] = cumulative
			}
		}
		// Requests end while this is read: a total that was counted apart could be below its own buckets.
		ch <- prometheus.MustNewConstHistogram(descLatency, cumulative+uint64(l.buckets[bucketCount]), l.sum.Seconds(), buckets, route)
	})
}

func (c *collector) collectHealth(ch chan<- prometheus.Metric, sys *service.System) {
	h := sys.Health()
	value := map[service.State]float64{service.Healthy: 1, service.Degraded: .5}
	for _, p := range h.Components {
		ch <- prometheus.MustNewConstMetric(descHealth, prometheus.GaugeValue, value[p.State], p.Name)
	}
	for _, j := range h.Jobs {
		ch <- prometheus.MustNewConstMetric(descJobs, prometheus.GaugeValue, float64(j.Count), j.Queue, j.Kind, j.State)
		if j.State == "available" {
			ch <- prometheus.MustNewConstMetric(descJobAge, prometheus.GaugeValue, max(0, h.At.Sub(j.Oldest).Seconds()), j.Queue, j.Kind)
		}
	}
	ch <- prometheus.MustNewConstMetric(descCommit, prometheus.GaugeValue, h.Latency.Seconds())
}
