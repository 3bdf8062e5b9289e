package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// Alert is something that a person should look at now.
type Alert struct {
	ID       string    `json:"id"`
	Severity string    `json:"severity" enum:"warning,critical"`
	Source   string    `json:"source" doc:"A component of /health/detailed, or a metric with a threshold."`
	Message  string    `json:"message"`
	Action   string    `json:"action,omitempty"`
	At       time.Time `json:"timestamp"`
}

// defaultThresholds are in force until a tenant sets its own: percent, milliseconds, jobs, seconds, percent.
var defaultThresholds = map[string]float64{"error_rate": 1, "p95_ms": 500, "queue_depth": 50000, "queue_age_seconds": 60, "disk_free_percent": 10}

const thresholdsKey = "monitoring.thresholds"

// Alerts lists what is wrong now: unhealthy and degraded components, and figures beyond their thresholds. readings are
// figures that the caller measures.
func (s *System) Alerts(ctx context.Context, sc account.Scope, readings map[string]float64) ([]Alert, map[string]float64, error) {
	limits, err := thresholds(s.st.Read(ctx), sc)
	if err != nil {
		return nil, nil, err
	}
	h := s.Health()
	alerts := []Alert{}
	for _, c := range h.Components {
		if c.State == Healthy {
			continue
		}
		severity := "warning"
		if c.State == Unhealthy {
			severity = "critical"
		}
		alerts = append(alerts, Alert{ID: "component." + c.Name, Severity: severity, Source: c.Name, Message: c.Reason, Action: c.Action, At: h.At})
	}
	waiting, err := s.mailAlerts(ctx, sc)
	if err != nil {
		return nil, nil, err
	}
	alerts = append(alerts, waiting...)
	readings = maps.Clone(readings)
	readings["queue_depth"], readings["queue_age_seconds"] = float64(h.QueueDepth), h.QueueAge.Seconds()
	if h.DiskFree >= 0 {
		readings["disk_free_percent"] = h.DiskFree
	}
	for _, m := range slices.Sorted(maps.Keys(readings)) {
		v, limit := readings[m], limits[m]
		beyond, word := v > limit, "above"
		if m == "disk_free_percent" {
			beyond, word = v < limit, "below"
		}
		if beyond {
			alerts = append(alerts, Alert{ID: "threshold." + m, Severity: "warning", Source: m, Message: fmt.Sprintf("%s is %.4g, %s %.4g", m, v, word, limit), At: h.At})
		}
	}
	return alerts, limits, nil
}

// SetThreshold changes from when on a figure is an alert for this tenant, and returns all thresholds. Needs
// system:config.
func (s *System) SetThreshold(ctx context.Context, sc account.Scope, metric string, value float64) (map[string]float64, error) {
	if err := sc.Require(account.SystemConfig); err != nil {
		return nil, err
	}
	var bad []fault.Field
	if _, ok := defaultThresholds[metric]; !ok {
		bad = append(bad, fault.Field{Path: "metric", Code: "not_allowed", Message: "send one of " + strings.Join(slices.Sorted(maps.Keys(defaultThresholds)), ", ")})
	}
	if value < 0 || value > 1e12 || (value > 100 && (metric == "error_rate" || metric == "disk_free_percent")) {
		bad = append(bad, fault.Field{Path: "threshold", Code: "out_of_range", Message: "send a number from 0 on; percents end at 100"})
	}
	if err := fault.InvalidFields(bad).OrNil(); err != nil {
		return nil, err
	}
	return write(ctx, s.core, sc, func(tx *store.Tx) (map[string]float64, error) {
		all, err := thresholds(tx.Reader, sc)
		if err != nil {
			return nil, err
		}
		before := all[metric]
		if all[metric] = value; before == value {
			return all, nil
		}
		b, err := json.Marshal(all)
		if err != nil {
			return nil, fault.Internal("store thresholds", err)
		}
		if err := tx.SaveSetting(sc, thresholdsKey, string(b)); err != nil {
			return nil, err
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: event.SettingChanged, Subject: thresholdsKey, Changes: map[string]event.Change{metric: {From: before, To: value}}})
		return all, err
	})
}

func thresholds(r *store.Reader, sc account.Scope) (map[string]float64, error) {
	out := maps.Clone(defaultThresholds)
	text, err := r.Setting(sc, thresholdsKey)
	if err != nil || text == "" {
		return out, err
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fault.Internal("read thresholds", err)
	}
	return out, nil
}
