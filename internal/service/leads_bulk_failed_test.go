package service

import (
	"bytes"
	"encoding/json"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

func TestBulkJob_ThatDiesShowsAsFailed(t *testing.T) {
	st := storetest.SQLite(t)
	svc := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	t.Cleanup(svc.Accounts.Close)
	sc := account.SystemScope("t-one", "test")
	var batch *store.Batch
	err := st.Write(t.Context(), func(tx *store.Tx) (err error) {
		batch, err = tx.InsertBatch(sc, []json.RawMessage{[]byte("{}")}, bulkChunk)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.SQLite().Exec("UPDATE lead_batch_chunks SET rows_json='{'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		attempt int
		want    string
	}{{1, "queued"}, {12, "failed"}} {
		job := queue.Job[bulkArgs]{Args: bulkArgs{Tenant: "t-one", Batch: batch.ID}, Attempt: c.attempt, MaxAttempts: 12}
		if svc.Leads.workBatch(t.Context(), job) == nil {
			t.Fatal("a chunk that cannot be read was worked")
		}
		got, _, err := svc.Leads.Batch(t.Context(), sc, batch.ID, 0, 10)
		if err != nil || got.Status != c.want || (c.want == "failed") == got.FinishedAt.IsZero() {
			t.Errorf("after attempt %d: %+v (%v), want %s", c.attempt, got, err, c.want)
		}
	}
}
