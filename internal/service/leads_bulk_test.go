package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

func TestBulkUpsert_OverAThousandRowsIsAJobWithTheSameResults(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
		t.Cleanup(svc.Accounts.Close)
		startQueue(t, st, svc)
		sc := account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())
		rows := make([]json.RawMessage, 1205)
		for i := range rows {
			rows[i] = json.RawMessage(fmt.Sprintf(`{"email":"p%d@example.com"}`, i%1200))
		}
		rows[3] = json.RawMessage(`{"email":"bad"}`)
		bulk, err := svc.Leads.BulkUpsert(t.Context(), sc, rows)
		if err != nil || bulk.Batch == nil {
			t.Fatalf("bulk %+v (%v), want a batch", bulk, err)
		}
		until(t, "the batch to finish", func() bool {
			b, _, err := svc.Leads.Batch(t.Context(), sc, bulk.Batch.ID, 0, 1)
			return err == nil && b.Status == "finished"
		})
		b, results, err := svc.Leads.Batch(t.Context(), sc, bulk.Batch.ID, 1, 1000)
		if err != nil || len(results) != 1000 || results[0].Index != 1 || len(results[2].Errors) != 1 {
			t.Fatalf("%d results (%v)", len(results), err)
		}
		if b.Processed != 1205 || b.Outcomes["created"] != 1200 || b.Outcomes["invalid"] != 1 || b.Outcomes["updated"] != 4 {
			t.Errorf("batch %+v", b)
		}
		if n, err := st.Read(t.Context()).Count(sc, store.CountLeads); err != nil || n != 1200 {
			t.Errorf("%d leads (%v), want 1200", n, err)
		}
	})
}
