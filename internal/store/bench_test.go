package store_test

import (
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// BenchmarkWrite_Event is the floor of every change: one event, group commit, full durability.
func BenchmarkWrite_Event(b *testing.B) {
	st := storetest.SQLite(b)
	sc := account.SystemScope("t-one", "bench")
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := st.Write(ctx, func(tx *store.Tx) error {
				_, err := tx.AppendEvent(sc, event.Event{Type: event.LeadUpdated, LeadID: "lead-1", Changes: map[string]event.Change{"status": {From: "new", To: "working"}}})
				return err
			}); err != nil {
				b.Error(err)
			}
		}
	})
	s := st.WriterStats()
	b.ReportMetric(float64(s.Requests)/float64(s.Batches), "requests/commit")
}
