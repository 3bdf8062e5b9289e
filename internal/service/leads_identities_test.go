package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// TestIdentities_FollowTheRules: a kind that is named anew recognises the leads that are there; one that is not named
// any more blocks nobody, however often the rules change.
func TestIdentities_FollowTheRules(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
		t.Cleanup(svc.Accounts.Close)
		startQueue(t, st, svc)
		sc := account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())
		create := func(body string) *service.LeadChange {
			t.Helper()
			in, err := lead.Decode([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			c, err := svc.Leads.Create(t.Context(), sc, in, false)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			return c
		}
		save := func(identity ...string) {
			t.Helper()
			if _, err := svc.Leads.SaveLeadRules(t.Context(), sc, lead.Rules{Statuses: []string{"new"}, Identity: identity, AllowUnknownFields: true}); err != nil {
				t.Fatal(err)
			}
		}
		identities := func(id lead.ID) string {
			found, err := st.Read(t.Context()).LiveIdentities(sc, id)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(found)
		}
		becomes := func(id lead.ID, want string) {
			t.Helper()
			until(t, fmt.Sprintf("%s to be known by %s (is: %s)", id, want, identities(id)), func() bool { return identities(id) == want })
		}

		a := create(`{"email":"a@example.com","phone":"+49 170 1234567"}`).Lead.ID
		b := create(`{"email":"b@example.com","phone":"+49 170 1234567"}`).Lead.ID // shares the number, and is younger
		last := a
		for i := range 1200 { // more than two chunks of the job
			last = create(fmt.Sprintf(`{"email":"p%d@example.com","phone":"+49 171 %07d"}`, i, 1000000+i)).Lead.ID
		}
		save("email", "phone")
		becomes(last, "[{email p1199@example.com} {phone +491711001199}]")
		becomes(a, "[{email a@example.com} {phone +491701234567}]")
		becomes(b, "[{email b@example.com}]")
		if c := create(`{"phone":"+49 170 1234567","first_name":"Ada"}`); c.Lead.ID != a || c.Outcome != lead.Updated {
			t.Errorf("the number of a stored lead recognises %s (%s), want %s", c.Lead.ID, c.Outcome, a)
		}

		save("email")
		becomes(last, "[{email p1199@example.com}]")
		in, err := lead.Decode([]byte(`{"phone":"+49 170 7654321"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := svc.Leads.Update(t.Context(), sc, service.LeadEdit{ID: a}, in); err != nil {
			t.Fatal(err)
		}
		save("phone")
		becomes(last, "[{phone +491711001199}]")
		becomes(a, "[{phone +491707654321}]")
		becomes(b, "[{phone +491701234567}]")

		// a unique field that is removed and made again
		unique := func() {
			t.Helper()
			if _, err := svc.Leads.DefineField(t.Context(), sc, lead.FieldDef{Key: "no", Type: lead.TypeText, Unique: true}); err != nil {
				t.Fatal(err)
			}
		}
		unique()
		set := func(id lead.ID, value string) error {
			in := lead.SetField("custom_fields.no", value)
			_, err := svc.Leads.Update(t.Context(), sc, service.LeadEdit{ID: id}, in)
			return err
		}
		if err := set(a, "M1"); err != nil {
			t.Fatal(err)
		}
		if err := svc.Leads.RemoveField(t.Context(), sc, "no"); err != nil {
			t.Fatal(err)
		}
		becomes(a, "[{phone +491707654321}]")
		unique()
		becomes(a, "[{custom_fields.no m1} {phone +491707654321}]")
		if err := set(b, "M1"); err == nil {
			t.Error("two leads have one value of a unique field")
		}
		findings(t, st)
	})
}

func findings(t *testing.T, st *store.Store) {
	t.Helper()
	for _, name := range []string{"identities_have_leads", "count_of_leads", "count_of_tags", "score_is_the_ledger"} {
		found, err := st.Read(t.Context()).Check(account.NewInstance("test"), name)
		if err != nil || len(found) > 0 {
			t.Errorf("check %s: %v (%v)", name, found, err)
		}
	}
}

// TestBulkJob_ABadRowRefusesItselfAlone also when it holds what PostgreSQL cannot store.
func TestBulkJob_ABadRowRefusesItselfAlone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
		t.Cleanup(svc.Accounts.Close)
		startQueue(t, st, svc)
		sc := account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())
		rows := make([]json.RawMessage, 1010)
		for i := range rows {
			rows[i] = json.RawMessage(fmt.Sprintf(`{"email":"p%d@example.com","custom_fields":{"k":%d}}`, i, i))
		}
		bad := map[int]string{3: `{"external_id":"\u0000"}`, 250: `{"custom_fields":{"k":"text"},"email":"x@example.com"}`, 251: `7`, 999: `{"owner_id":"\u0000","email":"y@example.com"}`}
		for i, row := range bad {
			rows[i] = json.RawMessage(row)
		}
		bulk, err := svc.Leads.BulkUpsert(t.Context(), sc, rows)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the batch to finish", func() bool {
			b, _, err := svc.Leads.Batch(t.Context(), sc, bulk.Batch.ID, 0, 1)
			return err == nil && b.Status == "finished"
		})
		_, results, err := svc.Leads.Batch(t.Context(), sc, bulk.Batch.ID, 0, 2000)
		if err != nil || len(results) != len(rows) {
			t.Fatalf("%d results (%v)", len(results), err)
		}
		for i, r := range results {
			if _, wrong := bad[i]; wrong != (r.Outcome == lead.Invalid) || wrong != (len(r.Errors) > 0) {
				t.Errorf("row %d: %+v", i, r)
			}
		}
		findings(t, st)
	})
}
