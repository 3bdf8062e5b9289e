package service_test

import (
	"bytes"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

func TestAnalytics_EveryFigureRunsOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
		t.Cleanup(svc.Accounts.Close)
		sc := account.SystemScope("t-one", "test")
		d, err := svc.Analytics.Dashboard(t.Context(), sc, 30)
		if err != nil {
			t.Fatal(err)
		}
		if d.Leads.QualificationRate != nil || d.Emails.OpenRate != nil || d.Workflows.ConversionRate != nil {
			t.Errorf("rates of nothing: %+v, want null", d)
		}
		days, p, err := svc.Analytics.Daily(t.Context(), sc, 366)
		if err != nil || len(days) != 366 || days[365].Date != p.To.UTC().Format("2006-01-02") {
			t.Errorf("daily: %d rows to %v (%v), want 366 up to today", len(days), days[len(days)-1], err)
		}
	})
}
