package httpapi

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/service"
)

type alertsOutput struct {
	Body struct {
		Total      int                `json:"total"`
		Alerts     []service.Alert    `json:"alerts"`
		Thresholds map[string]float64 `json:"thresholds"`
		Timestamp  time.Time          `json:"timestamp"`
	}
}

type performanceOutput struct {
	Body struct {
		EndpointFigures
		ErrorRate float64                    `json:"error_rate" doc:"Percent of requests that were answered with 5xx."`
		Database  map[string]any             `json:"database"`
		Queue     map[string]any             `json:"queue"`
		Slowest   map[string]EndpointFigures `json:"slowest" doc:"The five routes with the highest p95."`
		Uptime    float64                    `json:"uptime_seconds"`
		Timestamp time.Time                  `json:"timestamp"`
	}
}

type thresholdInput struct {
	Body struct {
		_         struct{} `additionalProperties:"true"`
		Metric    string   `json:"metric" doc:"error_rate, p95_ms, queue_depth, queue_age_seconds or disk_free_percent."`
		Threshold float64  `json:"threshold" doc:"Percent, milliseconds, jobs, seconds or percent, as the metric's name says."`
	}
}

type thresholdOutput struct {
	Body struct {
		Status     string             `json:"status"`
		Metric     string             `json:"metric"`
		Threshold  float64            `json:"threshold"`
		Thresholds map[string]float64 `json:"thresholds"`
	}
}

func (a *API) monitoring() {
	register(a, Route{Method: "GET", Path: "/api/monitoring/alerts", ID: "list-alerts", Tag: "Monitoring", Summary: "What is wrong now", Permission: account.AnalyticsRead},
		func(ctx context.Context, sc account.Scope, _ *struct{}) (*alertsOutput, error) {
			alerts, thresholds, err := a.Services.System.Alerts(ctx, sc, a.readings())
			if err != nil {
				return nil, err
			}
			out := &alertsOutput{}
			out.Body.Total, out.Body.Alerts, out.Body.Thresholds, out.Body.Timestamp = len(alerts), alerts, thresholds, a.Now().UTC()
			return out, nil
		})
	register(a, Route{Method: "GET", Path: "/api/monitoring/performance", ID: "get-performance", Tag: "Monitoring", Summary: "How fast it answers", Permission: account.AnalyticsRead},
		func(context.Context, account.Scope, *struct{}) (*performanceOutput, error) {
			return a.performance(), nil
		})
	register(a, Route{Method: "POST", Path: "/api/monitoring/alerts/threshold", ID: "set-alert-threshold", Tag: "Monitoring", Summary: "Say from when on a figure is an alert", Permission: account.SystemConfig},
		func(ctx context.Context, sc account.Scope, in *thresholdInput) (*thresholdOutput, error) {
			all, err := a.Services.System.SetThreshold(ctx, sc, in.Body.Metric, in.Body.Threshold)
			if err != nil {
				return nil, err
			}
			out := &thresholdOutput{}
			out.Body.Status, out.Body.Metric, out.Body.Threshold, out.Body.Thresholds = "updated", in.Body.Metric, in.Body.Threshold, all
			return out, nil
		})
}

// readings are the figures that alerts compare with their thresholds and that only this layer knows.
func (a *API) readings() map[string]float64 {
	t := a.requests.total()
	return map[string]float64{"error_rate": errorRate(t), "p95_ms": ms(t.quantile(.95))}
}

func errorRate(l latencies) float64 {
	if l.count == 0 {
		return 0
	}
	return 100 * float64(l.failed) / float64(l.count)
}

func (a *API) performance() *performanceOutput {
	out := &performanceOutput{}
	b := &out.Body
	t := a.requests.total()
	h := a.Services.System.Health()
	b.EndpointFigures, b.ErrorRate = figures(t), errorRate(t)
	b.Database = map[string]any{"commit_ms": ms(h.Latency)}
	if w := a.Services.System.Writer(); w.Batches > 0 {
		b.Database["commits"], b.Database["writes_per_commit"] = w.Batches, float64(w.Requests)/float64(w.Batches)
	}
	b.Queue = map[string]any{"depth": h.QueueDepth, "oldest_age_seconds": max(0, h.QueueAge.Seconds())}
	b.Slowest = map[string]EndpointFigures{}
	a.requests.each(func(route string, l latencies) {
		b.Slowest[route] = figures(l)
		if len(b.Slowest) <= 5 {
			return
		}
		fastest := route
		for r, f := range b.Slowest {
			if f.P95 < b.Slowest[fastest].P95 {
				fastest = r
			}
		}
		delete(b.Slowest, fastest)
	})
	b.Uptime, b.Timestamp = a.Services.System.Uptime().Seconds(), a.Now().UTC()
	return out
}
