package httpapi

import (
	"strings"
	"testing"
)

func TestAnalytics_FiguresComeFromRows(t *testing.T) {
	s := newServer(t)
	connectQueue(t, s)
	d := do(t, s, "guest", "GET", "/api/analytics/dashboard", "").want(200).json()
	if d["total_leads"] != 0.0 || d["qualification_rate"] != nil || d["active_workflows"] != 0.0 {
		t.Errorf("empty dashboard = %v, want null for a rate of nothing", d)
	}
	var ids []string
	for _, body := range []string{`{"email":"a@example.com","source":"web"}`, `{"email":"b@example.com","source":"web","status":"qualified"}`, `{"email":"c@example.com"}`, `{"email":"d@example.com"}`} {
		ids = append(ids, do(t, s, "admin", "POST", "/api/leads", body).want(200).json()["id"].(string))
	}
	do(t, s, "admin", "PUT", "/api/leads/"+ids[0], `{"status":"qualified"}`).want(200)
	do(t, s, "admin", "PUT", "/api/leads/"+ids[0], `{"status":"lost"}`).want(200)
	d = do(t, s, "guest", "GET", "/api/analytics/dashboard?days=7", "").want(200).json()
	if d["total_leads"] != 4.0 || d["qualification_rate"] != 0.5 {
		t.Errorf("dashboard = %v, want 4 leads, half of them ever qualified", d)
	}
	for _, part := range []string{"leads", "workflows", "emails"} {
		if _, ok := d["summary"].(map[string]any)[part].(map[string]any); !ok {
			t.Errorf("summary has no %s", part)
		}
		do(t, s, "analyst", "GET", "/api/analytics/"+part+"?days=1", "").want(200)
	}
	other := do(t, s, "guest@t-two", "GET", "/api/analytics/leads", "").want(200).json()
	if other["created"] != 0.0 {
		t.Errorf("another tenant sees %v", other)
	}
	daily := do(t, s, "guest", "GET", "/api/analytics/daily?days=3", "").want(200).json()["days"].([]any)
	if len(daily) != 3 || daily[2].(map[string]any)["leads_created"] != 4.0 {
		t.Errorf("daily = %v", daily)
	}
	roi := do(t, s, "guest", "GET", "/api/analytics/roi?lead_value=100&conversion_rate=0.25&cost=50", "").want(200).json()
	if roi["estimated_revenue"] != 100.0 || roi["roi"] != 1.0 {
		t.Errorf("roi = %v", roi)
	}
	if roi = do(t, s, "guest", "GET", "/api/analytics/roi", "").want(200).json(); roi["estimated_revenue"] != nil || roi["roi"] != nil {
		t.Errorf("roi without a lead value = %v, want null: nothing is invented", roi)
	}
	if roi = do(t, s, "guest", "GET", "/api/analytics/roi?lead_value=100&conversion_rate=0&cost=50", "").want(200).json(); roi["estimated_revenue"] != 0.0 || roi["roi"] != -1.0 {
		t.Errorf("roi with a rate of 0 = %v, want no revenue: 0 is a value of its own", roi)
	}
	for _, q := range []string{"lead_value=NaN", "lead_value=Inf", "conversion_rate=2", "cost=-1", "cost=x", "lead_value=-NaN"} {
		if f := do(t, s, "guest", "GET", "/api/analytics/roi?"+q, "").problem(422, "validation_failed"); len(f) != 1 {
			t.Errorf("%s: %v", q, f)
		}
	}
	do(t, s, "guest", "GET", "/api/analytics/dashboard?days=0", "").problem(422, "validation_failed")
	do(t, s, "guest", "GET", "/api/analytics/dashboard?days=x", "").problem(422, "validation_failed")
}

func TestAnalytics_Export(t *testing.T) {
	s := newServer(t)
	do(t, s, "guest", "GET", "/api/analytics/export", "").problem(403, "forbidden")
	e := do(t, s, "analyst", "GET", "/api/analytics/export?format=csv&days=2", "").want(200).json()
	if text := e["data"].(string); e["format"] != "csv" || !strings.HasPrefix(text, "date,leads_created,") || strings.Count(text, "\n") != 3 {
		t.Errorf("csv = %v", e)
	}
	e = do(t, s, "analyst", "GET", "/api/analytics/export?format=json&days=2", "").want(200).json()
	if e["format"] != "json" || len(e["data"].([]any)) != 2 {
		t.Errorf("json = %v", e)
	}
	do(t, s, "analyst", "GET", "/api/analytics/export?format=xml", "").problem(422, "validation_failed")
}

func TestFormulaSafe(t *testing.T) {
	for in, want := range map[string]string{"=1+1": "'=1+1", "@x": "'@x", "-5": "-5", "-5+1": "'-5+1", "ok": "ok", "\t=x": "'\t=x", "": ""} {
		if got := formulaSafe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
