package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

var onInstance = account.NewInstance("test")

func appendEvents(t *testing.T, st *store.Store, tenant account.TenantID, n int, typ event.Type) {
	t.Helper()
	sc := account.SystemScope(tenant, "test")
	if err := st.Write(t.Context(), func(tx *store.Tx) error {
		for i := range n {
			if _, err := tx.AppendEvent(sc, event.Event{Type: typ, Subject: fmt.Sprint("s-", i)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// sealExactly seals until want events are sealed. On PostgreSQL a transaction of any other database of the server, such
// as another test's, holds the horizon back until it ends; there is no signal for its end, so this asks again.
func sealExactly(t *testing.T, st *store.Store, want int) {
	t.Helper()
	total := 0
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if total += sealAll(t, st); total == want {
			return
		}
		if total > want || time.Now().After(end) {
			t.Fatalf("sealed %d events, want %d", total, want)
		}
	}
}

func sealAll(t *testing.T, st *store.Store) int {
	t.Helper()
	total := 0
	for {
		n, more, err := st.SealEvents(t.Context(), onInstance)
		if err != nil {
			t.Fatal(err)
		}
		if total += n; !more {
			return total
		}
	}
}

func rawExec(t *testing.T, st *store.Store, text string) {
	t.Helper()
	var err error
	if st.SQLite() != nil {
		_, err = st.SQLite().Exec(text)
	} else {
		_, err = st.Postgres().Exec(t.Context(), text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func findings(t *testing.T, st *store.Store, check string) []store.Finding {
	t.Helper()
	fs, err := st.Read(t.Context()).Check(onInstance, check)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestSealEvents_ChainVerifiesUntilSomethingIsChanged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		for range 3 {
			appendEvents(t, st, "t-one", 40, event.UserLogin)
			appendEvents(t, st, "t-two", 7, event.LeadCreated)
			sealExactly(t, st, 47)
		}
		if n := sealAll(t, st); n != 0 {
			t.Fatalf("sealed %d events twice", n)
		}
		for _, c := range []string{"event_chain", "event_chain_complete"} {
			if fs := findings(t, st, c); len(fs) != 0 {
				t.Fatalf("%s on a sound chain: %v", c, fs)
			}
		}
		sc := account.SystemScope("t-one", "test")
		es, _, err := st.Read(t.Context()).Events(sc, store.EventFilter{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		seal, err := st.Read(t.Context()).EventSeal(sc, es[0].ID)
		if err != nil || seal.Seq != 120 || seal.Block.Number != 3 {
			t.Fatalf("the last of 120 events: %+v, %v", seal, err)
		}
		rawExec(t, st, "UPDATE events SET erased_digest='"+seal.Digest+"', actor_name='erased' WHERE id='"+es[0].ID+"'")
		if fs := findings(t, st, "event_chain"); len(fs) != 0 {
			t.Fatalf("an erasure that keeps the digest broke the chain: %v", fs)
		}
		rawExec(t, st, "UPDATE events SET subject_id='forged' WHERE tenant_id='t-two' AND subject_id='s-3'")
		if fs := findings(t, st, "event_chain"); len(fs) != 3 || fs[0].Tenant != "t-two" {
			t.Fatalf("three forged events, found %v", fs)
		}
		rawExec(t, st, "UPDATE events SET subject_id='s-3' WHERE subject_id='forged'")
		rawExec(t, st, "DELETE FROM events WHERE tenant_id='t-one' AND subject_id='s-5'")
		if fs := findings(t, st, "event_chain"); len(fs) != 3 {
			t.Fatalf("three deleted events, found %v", fs)
		}
		if fs := findings(t, st, "event_chain_complete"); len(fs) != 1 {
			t.Fatalf("totals: %v", fs)
		}
	})
}

// An event of a transaction that is still open must not be passed over by the sealer, nor sealed before it is final.
func TestSealEvents_WaitsForOpenTransactions(t *testing.T) {
	st := storetest.Postgres(t)
	appended, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	sc := account.SystemScope("t-one", "test")
	go func() {
		done <- st.Write(context.Background(), func(tx *store.Tx) error {
			if _, err := tx.AppendEvent(sc, event.Event{Type: event.UserLogin}); err != nil {
				return err
			}
			close(appended)
			<-release
			return nil
		})
	}()
	<-appended
	appendEvents(t, st, "t-one", 5, event.UserLogin)
	if n := sealAll(t, st); n != 0 {
		t.Fatalf("sealed %d events behind an open transaction", n)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sealExactly(t, st, 6)
	if fs := append(findings(t, st, "event_chain"), findings(t, st, "event_chain_complete")...); len(fs) != 0 {
		t.Fatal(fs)
	}
}

func TestEvents_FiltersPagesAndTenants(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		appendEvents(t, st, "t-one", 30, event.UserLogin)
		appendEvents(t, st, "t-one", 5, event.KeyCreated)
		appendEvents(t, st, "t-two", 9, event.UserLogin)
		sc := account.SystemScope("t-one", "test")
		all := func(f store.EventFilter) (ids []string) {
			t.Helper()
			for {
				page, next, err := st.Read(t.Context()).Events(sc, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page {
					ids = append(ids, e.ID)
				}
				if next == "" {
					return ids
				}
				f.Before = next
			}
		}
		ids := all(store.EventFilter{Limit: 8})
		if len(ids) != 35 || !slices.IsSortedFunc(ids, func(a, b string) int { return -compare(a, b) }) {
			t.Fatalf("%d events, want 35, newest first", len(ids))
		}
		for _, c := range []struct {
			f    store.EventFilter
			want int
		}{
			{store.EventFilter{Types: []string{"user."}}, 30},
			{store.EventFilter{Types: []string{"key.created"}}, 5},
			{store.EventFilter{Types: []string{"key.", "user.login"}}, 35},
			{store.EventFilter{Types: []string{"user.log"}}, 0},
			{store.EventFilter{Subject: "s-3"}, 2},
			{store.EventFilter{Subject: "s-3", Types: []string{"key."}}, 1},
			{store.EventFilter{Actor: "nobody"}, 0},
			{store.EventFilter{To: time.Now().Add(-time.Hour)}, 0},
			{store.EventFilter{From: time.Now().Add(-time.Hour), Actor: "test"}, 35},
		} {
			c.f.Limit = 8
			if got := all(c.f); len(got) != c.want {
				t.Errorf("%+v: %d, want %d", c.f, len(got), c.want)
			}
		}
		if _, err := st.Read(t.Context()).Event(account.SystemScope("t-two", "x"), ids[0]); err != store.ErrNotFound {
			t.Fatalf("another tenant's event: %v", err)
		}
	})
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func TestRunPeriodic_OneNodeAtATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		runs := make(chan bool, 100)
		plan := func(last time.Time) (time.Time, time.Time, []river.InsertManyParams) {
			if !last.IsZero() {
				return time.Time{}, t0.Add(time.Hour), nil
			}
			return t0, t0.Add(time.Hour), nil
		}
		for range 8 {
			go func() {
				runs <- st.RunPeriodic(context.Background(), "sweep", plan) == nil
			}()
		}
		for range 8 {
			if !<-runs {
				t.Fatal("a node failed")
			}
		}
		ps, err := st.Read(t.Context()).PeriodicRuns(onInstance)
		if err != nil || len(ps) != 1 || !ps[0].Last.Equal(t0) || !ps[0].Next.Equal(t0.Add(time.Hour)) {
			t.Fatalf("%+v %v", ps, err)
		}
	})
}

func rawCount(t *testing.T, st *store.Store, text string) (n int64) {
	t.Helper()
	var err error
	if st.SQLite() != nil {
		err = st.SQLite().QueryRow(text).Scan(&n)
	} else {
		err = st.Postgres().QueryRow(t.Context(), text).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
