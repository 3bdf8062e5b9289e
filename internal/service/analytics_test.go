package service_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
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

// TestAnalytics_DaysAreTheTenants: a lead and a message every half hour over a change of the clock; the days have 23
// and 25 hours, the sums are those of the rows.
func TestAnalytics_DaysAreTheTenants(t *testing.T) {
	for name, o := range map[string]func(*testing.T) store.Options{
		"sqlite": func(t *testing.T) store.Options {
			return store.Options{Path: filepath.Join(t.TempDir(), "leadloom.db")}
		},
		"postgres": func(t *testing.T) store.Options {
			return store.Options{PostgresURL: storetest.PostgresURL(t), PoolSize: 4}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := o(t)
			now := time.Date(2026, 3, 27, 23, 0, 0, 0, time.UTC) // midnight in Berlin
			opts.Now = func() time.Time { return now }
			st, err := store.Open(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
				t.Fatal(err)
			}
			svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
			defer svc.Accounts.Close()
			openQueue(t, st, svc, true)
			if err := svc.Accounts.BootstrapTenant(t.Context(), account.NewInstance("test"), account.Tenant{ID: "t-one", Name: "One", Plan: account.PlanEnterprise}); err != nil {
				t.Fatal(err)
			}
			raw(t, st, "UPDATE tenants SET timezone='Europe/Berlin' WHERE id='t-one'")
			sc := account.SystemScope("t-one", "test")
			end := time.Date(2026, 3, 30, 21, 59, 0, 0, time.UTC)
			for n := 0; now.Before(end); n++ {
				in, err := lead.Decode(fmt.Appendf(nil, `{"email":"p%d@example.com"}`, n))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := svc.Leads.Create(t.Context(), sc, in, false); err != nil {
					t.Fatal(err)
				}
				err = st.Write(t.Context(), func(tx *store.Tx) error {
					m := &campaign.Message{ID: tx.NewID(), Kind: string(mail.KindTransactional), Address: "a@example.com", Subject: "s", Text: "t", State: campaign.RowSent, Reason: campaign.ReasonAccepted, DueAt: now, QueuedAt: now, FinalAt: now}
					return tx.InsertMessage(sc, m, "a@example.com")
				})
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(30 * time.Minute)
			}
			now = end
			days, p, err := svc.Analytics.Daily(t.Context(), sc, 4)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]int64{"2026-03-27": 0, "2026-03-28": 48, "2026-03-29": 46, "2026-03-30": 48} // the 29th has 23 hours
			var leads, mails int64
			for _, d := range days {
				if d.LeadsCreated != want[d.Date] || d.EmailsSent != want[d.Date] {
					t.Errorf("%s: %d leads, %d mails; want %d each", d.Date, d.LeadsCreated, d.EmailsSent, want[d.Date])
				}
				leads, mails = leads+d.LeadsCreated, mails+d.EmailsSent
			}
			l, _, err := svc.Analytics.Leads(t.Context(), sc, 4)
			if err != nil {
				t.Fatal(err)
			}
			e, _, err := svc.Analytics.Emails(t.Context(), sc, 4)
			if err != nil || l.Created != leads || e.Sent != mails || leads != 142 || p.Zone != "Europe/Berlin" {
				t.Errorf("days sum up to %d leads and %d mails, the figures say %d and %d (%v), want 142 each", leads, mails, l.Created, e.Sent, err)
			}
		})
	}
}

// TestAnalytics_EverQualifiedCountsTheFirstStatusToo: a lead that came in as qualified and was lost later was qualified.
func TestAnalytics_EverQualifiedCountsTheFirstStatusToo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := mailHouseAt(t, st, nil)
		openQueue(t, st, h.Services, true)
		for i, way := range [][]string{{"qualified", "lost"}, {"new", "converted", "lost"}, {"new", "lost"}, {"qualified"}} {
			id := h.lead(t, fmt.Sprintf(`{"email":"p%d@example.com","status":"%s"}`, i, way[0]))
			for _, to := range way[1:] {
				in, err := lead.Decode(fmt.Appendf(nil, `{"status":"%s"}`, to))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.Leads.Update(t.Context(), h.sc, service.LeadEdit{ID: lead.ID(id)}, in); err != nil {
					t.Fatal(err)
				}
			}
		}
		f, _, err := h.Analytics.Leads(t.Context(), h.sc, 1)
		if err != nil || f.Created != 4 || f.Qualified != 3 || f.Converted != 1 || *f.QualificationRate != 0.75 {
			t.Errorf("figures = %+v %v, want 4 created, 3 ever qualified, 1 converted", f, err)
		}
		figuresAreTheRows(t, st)
	})
}

func figuresAreTheRows(t *testing.T, st *store.Store) {
	t.Helper()
	for _, name := range []string{"figures_of_leads", "stages_of_leads", "count_of_leads"} {
		if c, err := st.Read(t.Context()).CheckWith(account.NewInstance("test"), name, store.Aids{}); err != nil || len(c.Findings) > 0 {
			t.Errorf("%s: %v %+v", name, err, c.Findings)
		}
	}
}

type leadsAndQualified struct{ leads, qualified int64 }

// TestAnalytics_KeptFiguresFollowEveryChange: figures by source, status and score after changes, points, a merge, a
// deletion and its undoing.
func TestAnalytics_KeptFiguresFollowEveryChange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := mailHouseAt(t, st, nil)
		openQueue(t, st, h.Services, true)
		var ids []string
		for i, status := range []string{"new", "converted", "qualified", "working", "new"} {
			ids = append(ids, h.lead(t, fmt.Sprintf(`{"email":"p%d@example.com","status":"%s","source":"web"}`, i, status)))
		}
		update := func(id, body string) {
			in, err := lead.Decode([]byte(body))
			if err == nil {
				_, err = h.Leads.Update(t.Context(), h.sc, service.LeadEdit{ID: lead.ID(id)}, in)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		update(ids[0], `{"source":"Messe Köln","status":"qualified"}`)
		if _, err := h.Leads.GivePoints(t.Context(), h.sc, lead.ID(ids[0]), 30, "fair"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Leads.Merge(t.Context(), h.sc, service.LeadEdit{ID: lead.ID(ids[3])}, []lead.ID{lead.ID(ids[1])}); err != nil {
			t.Fatal(err)
		}
		figuresAreTheRows(t, st)
		f, _, err := h.Analytics.Leads(t.Context(), h.sc, 2)
		if err != nil || f.Created != 4 || *f.AverageScore != 7.5 || len(f.BySource) != 2 || f.BySource[0].Name != "web" || f.BySource[0].N != 3 {
			t.Errorf("after a merge: %+v %v, want 4 leads of a mean score of 7.5, 3 of them from the web", f, err)
		}
		qualified := f.Qualified
		for _, gone := range []bool{true, false} {
			if gone {
				if _, err := h.Leads.Delete(t.Context(), h.sc, service.LeadEdit{ID: lead.ID(ids[2])}); err != nil {
					t.Fatal(err)
				}
			} else if id := h.lead(t, `{"email":"p2@example.com"}`); id != ids[2] {
				t.Fatalf("a deleted lead came back as %s, want %s", id, ids[2])
			}
			figuresAreTheRows(t, st)
			want := leadsAndQualified{4, qualified}
			if gone {
				want = leadsAndQualified{3, qualified - 1}
			}
			if f, _, err = h.Analytics.Leads(t.Context(), h.sc, 366); err != nil || (leadsAndQualified{f.Created, f.Qualified}) != want {
				t.Errorf("deleted %v: %+v %v, want %+v", gone, f, err, want)
			}
		}
	})
}
