package service

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/storetest"
	"leadloom/internal/workflow"
)

// benchFlows is a house on SQLite whose workers run as in production.
func benchFlows(b *testing.B) *flowHouse {
	b.Helper()
	h := newFlowHouse(b, storetest.SQLite(b), newFlowClock())
	o := h.queueOptions()
	o.PollInterval, o.TestOnly, o.Observe = 0, false, func(queue.Observation) {}
	q, err := queue.Open(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	h.st.SetInserter(q)
	if err := q.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = q.Stop(context.Background()) })
	return h
}

// finished waits until n runs of the workflow have ended.
func (h *flowHouse) finished(w workflow.ID, n int64) {
	h.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		counts, err := h.st.Read(context.Background()).RunCounts(h.sc, w)
		if err != nil {
			h.t.Fatal(err)
		}
		if counts[w][workflow.Parked] > 0 {
			h.t.Fatal("a run is parked")
		}
		if counts[w][workflow.Finished] >= n {
			return
		}
	}
}

func (h *flowHouse) benchLeads(b *testing.B, n int) (ids []lead.ID) {
	b.Helper()
	for i := range n {
		ids = append(ids, h.lead(fmt.Sprintf(`{"email":"lead%d@example.com","first_name":"Lead","custom_fields":{"budget":%d}}`, i, i)).ID)
	}
	return ids
}

// BenchmarkRuns is a trigger → four steps → the saved run, 50 callers at once. architecture §8: at least 1,000 a second
// and at most 1 ms of CPU each.
func BenchmarkRuns(b *testing.B) {
	h := benchFlows(b)
	w := h.workflow(`{"name":"bench","entry":{"reentry":"always"},"start":"a","nodes":{
		"a":{"type":"action.add_score","config":{"points":5},"next":"b"},
		"b":{"type":"branch.if","config":{"condition":{"field":"custom_fields.budget","op":">=","value":0}},"exits":{"yes":"c","no":"d"}},
		"c":{"type":"action.add_tag","config":{"tag":"hot"},"next":"d"},
		"d":{"type":"action.set_field","config":{"field":"notes","value":"seen {{ run.id }}"},"next":"end"}}}`)
	leads := h.benchLeads(b, 500)
	b.SetParallelism(25)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l := leads[int(n.Add(1))%len(leads)]
			if _, err := h.Workflows.Trigger(context.Background(), h.sc, TriggerInput{Workflow: w, Lead: l, Trigger: "api"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	h.finished(w, int64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}

// BenchmarkPureSteps walks runs of 40 steps each: architecture §8 wants 4,000 steps a second.
func BenchmarkPureSteps(b *testing.B) {
	h := benchFlows(b)
	nodes := make([]string, 0, 40)
	for i := range 20 {
		nodes = append(nodes, fmt.Sprintf(`{"type":"action.add_tag","config":{"tag":"t%d"}}`, i), fmt.Sprintf(`{"type":"action.remove_tag","config":{"tag":"t%d"}}`, i))
	}
	w := h.chain(`"entry":{"reentry":"always"},`, nodes...)
	leads := h.benchLeads(b, 200)
	b.SetParallelism(25)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if i := int(n.Add(1)); i%len(nodes) == 1 {
				if _, err := h.Workflows.Trigger(context.Background(), h.sc, TriggerInput{Workflow: w, Lead: leads[i/len(nodes)%len(leads)], Trigger: "api"}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	h.finished(w, int64((b.N+len(nodes)-1)/len(nodes)))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}
