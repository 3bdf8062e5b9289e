package service

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/secret"
	"leadloom/internal/storetest"
)

func benchLeads(b *testing.B) (*Leads, account.Scope) {
	b.Helper()
	svc := New(Deps{Store: storetest.SQLite(b), Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	b.SetParallelism(25)
	return svc.Leads, account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u-admin", Name: "admin"}, "u-admin", account.AllPermissions)
}

func personInput(b *testing.B, key string) *lead.Input {
	in, err := lead.Decode([]byte(`{"first_name":"Ada","last_name":"Lovelace","email":"` + key + `@example.com","phone":"","company":"Analytical Engines","source":"bench","custom_fields":{"budget":1200,"city":"London"}}`))
	if err != nil {
		b.Fatal(err)
	}
	return in
}

func BenchmarkCreateLead(b *testing.B) {
	leads, sc := benchLeads(b)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := leads.Create(context.Background(), sc, personInput(b, fmt.Sprint("p", n.Add(1))), false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUpdateLead(b *testing.B) {
	leads, sc := benchLeads(b)
	var ids []lead.ID
	for i := range 500 {
		c, err := leads.Create(context.Background(), sc, personInput(b, fmt.Sprint("p", i)), false)
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, c.Lead.ID)
	}
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			in, err := lead.Decode([]byte(fmt.Sprintf(`{"first_name":"Up%d","company":"Company %d.%d"}`, i, i%50, i)))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := leads.Update(context.Background(), sc, LeadEdit{ID: ids[int(i)%len(ids)]}, in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
