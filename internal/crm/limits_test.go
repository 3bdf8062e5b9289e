package crm

import (
	"testing"
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/lead"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestBackoff_DoublesToItsLimitWithJitter(t *testing.T) {
	for n, top := range map[int64]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 10: 512 * time.Second, 11: 15 * time.Minute, 100: 15 * time.Minute} {
		seen := map[time.Duration]bool{}
		for _, seed := range []string{"a", "b", "c", "d", "e"} {
			d := Backoff(n, seed, 0)
			if d > top || d < top*3/4 {
				t.Errorf("after %d failures %s; want %s less at most a quarter", n, d, top)
			}
			if d != Backoff(n, seed, 0) {
				t.Error("the same seed gives two pauses")
			}
			seen[d] = true
		}
		if len(seen) < 3 {
			t.Errorf("after %d failures all come back together: %v", n, seen)
		}
	}
	if d := Backoff(1, "a", time.Minute); d != time.Minute {
		t.Errorf("%s; want never less than the CRM asked for", d)
	}
}

func TestStanding_AfterEachClass(t *testing.T) {
	ok := Standing{State: StateOK}
	for class, want := range map[connector.Class]Standing{
		connector.ClassReauth: {State: StateReauth}, connector.ClassConfig: {State: StateConfig}, connector.ClassSelfLoop: {State: StateSelfLoop},
		connector.ClassQuota: {State: StateQuota, Until: noon.Add(time.Hour)}, connector.ClassThrottled: {State: StateOK, Until: noon.Add(7 * time.Second)}, connector.ClassRetry: {State: StateDegraded, Failures: 1},
	} {
		got := ok.AfterStop(&connector.Error{Class: class, After: 7 * time.Second}, "seed", noon)
		if class == connector.ClassRetry {
			if got.Until.Before(noon.Add(7 * time.Second)) {
				t.Errorf("retry: until %s; want at least what the CRM asked for", got.Until)
			}
			got.Until = time.Time{}
		}
		if got != want {
			t.Errorf("%s: %+v; want %+v", class, got, want)
		}
	}
	if got := ok.AfterStop(&connector.Error{Class: connector.ClassThrottled}, "", noon); !got.Until.Equal(noon.Add(ThrottleWait)) || got.Failures != 0 {
		t.Errorf("throttled without a time: %+v; want the default and no failure counted", got)
	}
	until := noon.Add(11 * time.Hour)
	if got := ok.AfterStop(&connector.Error{Class: connector.ClassQuota, Until: until}, "", noon); !got.Until.Equal(until) {
		t.Errorf("quota until %s; want %s", got.Until, until)
	}
}

func TestBudget_BucketAndDay(t *testing.T) {
	b := NewBudget("k", 2, 10, noon)
	taken := 0
	take := func(at time.Time) (time.Duration, bool) {
		var wait time.Duration
		var daily bool
		if b, wait, daily = b.Take(at); wait == 0 {
			taken++
		}
		return wait, daily
	}
	for range 5 { // the bucket starts full with five
		if wait, _ := take(noon); wait != 0 {
			t.Fatalf("the bucket held only %d", taken)
		}
	}
	wait, daily := take(noon)
	if daily || wait < 500*time.Millisecond || wait > 510*time.Millisecond {
		t.Errorf("the sixth waits %s (daily %v); want half a second", wait, daily)
	}
	for i := range 1000 { // callers that ask more often than a token grows must not keep it from growing
		take(noon.Add(time.Duration(i) * time.Millisecond / 2))
	}
	if wait, _ := take(noon.Add(510 * time.Millisecond)); wait != 0 && taken < 6 {
		t.Errorf("%d taken after half a second of asking; want the sixth", taken)
	}
	for i := range 10 {
		take(noon.Add(time.Duration(i+10) * time.Second))
	}
	if taken != 8 {
		t.Errorf("%d calls on a day of ten; want 80 %% of them", taken)
	}
	if wait, daily := take(noon.Add(time.Minute)); !daily || wait != 24*time.Hour-time.Minute {
		t.Errorf("waits %s (daily %v); want until the day is over", wait, daily)
	}
	if wait, _ := take(noon.Add(24 * time.Hour)); wait != 0 {
		t.Errorf("the next day waits %s", wait)
	}
	b = b.Block(noon.Add(25 * time.Hour))
	if wait, daily := take(noon.Add(24*time.Hour + time.Second)); daily || wait != time.Hour-time.Second {
		t.Errorf("a blocked budget waits %s (daily %v)", wait, daily)
	}
	b = b.Resize(1, 0)
	if b.DailyUsed != 1 || b.Tokens > b.Capacity || b.DailyLimit != 0 {
		t.Errorf("resized to %+v; want what was used kept", b)
	}
}

func TestMakePlan_SortsRows(t *testing.T) {
	m := &Mapping{Version: 2, Fields: []FieldMap{{Ours: "email", Theirs: "email"}, {Ours: "company", Theirs: "company", Required: true}}}
	mk := func(id lead.ID, company string) *lead.Lead {
		return &lead.Lead{ID: id, Version: 5, Email: string(id) + "@example.com", Company: company}
	}
	leads := map[lead.ID]*lead.Lead{"new": mk("new", "A"), "same": mk("same", "A"), "forced": mk("forced", "A"), "old-mapping": mk("old-mapping", "A"), "refused": mk("refused", ""), "deleted": mk("deleted", "A"), "merged": mk("merged", "A")}
	leads["deleted"].DeletedAt, leads["merged"].MergedInto = noon, "new"
	links := map[lead.ID]*Link{}
	for id, version := range map[lead.ID]int64{"same": 2, "forced": 2, "old-mapping": 1} {
		v, _ := m.Push(leads[id])
		links[id] = &Link{MappingVersion: version, Base: v, SentHash: m.Hash(v)}
	}
	var rows []Dirty
	for _, id := range []lead.ID{"new", "same", "forced", "old-mapping", "refused", "deleted", "merged", "unknown"} {
		rows = append(rows, Dirty{LeadID: id, LeadVersion: 5, Forced: id == "forced", MarkedAt: noon})
	}
	p := MakePlan(&Connection{ID: "c"}, m, rows, leads, links)
	sent := map[lead.ID]connector.Record{}
	for _, it := range p.Send {
		sent[it.Lead.ID] = it.Record
	}
	if len(p.Send) != 3 || len(sent["new"].Fields) != 2 || len(sent["forced"].Fields) != 2 || len(sent["old-mapping"].Fields) != 2 {
		t.Errorf("sent %v; want the new, the forced and the one under an old mapping, whole", sent)
	}
	if len(p.Same) != 1 || p.Same[0].Lead.ID != "same" || len(p.Refused) != 1 || p.Refused[0].Item.Lead.ID != "refused" || len(p.Gone) != 3 {
		t.Errorf("same %v, refused %v, gone %v", p.Same, p.Refused, p.Gone)
	}
	ring := []Dirty{{LeadID: "new", LeadVersion: 5, Hops: connector.MaxHops + 1}, {LeadID: "forced", LeadVersion: 5, Hops: connector.MaxHops, Forced: true}}
	if p := MakePlan(&Connection{ID: "c"}, m, ring, leads, links); len(p.Refused) != 1 || p.Refused[0].Err.Code != "self_loop" || len(p.Send) != 1 {
		t.Errorf("after too many servers: %+v; want that lead refused and the other sent", p)
	}
	again := MakePlan(&Connection{ID: "c"}, m, rows, leads, links)
	for _, it := range again.Send {
		if it.Record.IdempotencyKey != sent[it.Lead.ID].IdempotencyKey {
			t.Errorf("%s has another key the second time", it.Lead.ID)
		}
	}
	keys := map[string]bool{}
	for _, change := range []func(){func() {}, func() { leads["new"].Version++ }, func() { m.Version++ }, func() { leads["new"].Company = "B" }} {
		change()
		k := MakePlan(&Connection{ID: "c"}, m, rows[:1], leads, links).Send[0].Record.IdempotencyKey
		if keys[k] {
			t.Error("another version, mapping or content has the same key: the CRM would not take it")
		}
		keys[k] = true
	}
}
