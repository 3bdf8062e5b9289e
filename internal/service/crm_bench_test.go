package service

import (
	"fmt"
	"testing"
	"time"

	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// BenchmarkDrain sends 5,000 leads to the simulator without a quota and prints leads/s, marking included.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newCRMWorld(b, storetest.SQLite(b), simulator.Options{KeepNoCalls: true})
		const n = 5000
		for from := 0; from < n; from += 500 {
			if err := w.st.Write(b.Context(), func(tx *store.Tx) error {
				for i := from; i < from+500; i++ {
					if _, _, err := w.svc.core.upsertLead(tx, w.sc, lead.Input{FirstName: optional.Of("Anna"), Email: optional.Of(fmt.Sprintf("b%d@example.com", i))}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		start := time.Now()
		c := w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Settings.BatchSize = 200 })
		w.until("every lead", func() bool { return w.sim.Count() == n && w.inStep(c.ID)() })
		b.ReportMetric(n/time.Since(start).Seconds(), "leads/s")
	}
}
