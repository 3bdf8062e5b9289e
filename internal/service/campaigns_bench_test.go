package service_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
	"leadloom/internal/optional"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

const relayProcess = "LEADLOOM_TEST_RELAY"

// TestRelayProcess is the relay of the benchmark, in a process of its own so that its work is not counted as ours.
func TestRelayProcess(t *testing.T) {
	if os.Getenv(relayProcess) == "" {
		return // the benchmark starts it
	}
	s, err := sink.Start("127.0.0.1:0", sink.Options{Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("relay %s\n", s.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
	fmt.Printf("total %d\n", s.Total())
}

func startRelayProcess(b *testing.B) (port int, total func() string) {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestRelayProcess$")
	c.Env = append(os.Environ(), relayProcess+"=1")
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	read := func(prefix string) string {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return v
			}
		}
		b.Fatal("the relay said nothing")
		return ""
	}
	addr, err := net.ResolveTCPAddr("tcp", read("relay "))
	if err != nil {
		b.Fatal(err)
	}
	return addr.Port, func() string {
		_ = in.Close()
		n := read("total ")
		_ = c.Wait()
		return n
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCampaign sends to 20,000 leads with the full ledger to a relay on this machine; preparing is measured apart.
// Run it with -benchtime 1x.
func BenchmarkCampaign(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *store.Store{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				benchCampaign(b, open(b), 20_000)
			}
		})
	}
}

func benchCampaign(b *testing.B, st *store.Store, n int) {
	port, total := startRelayProcess(b)
	svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(make([]byte, 32)),
		SMTP: mail.Settings{Host: "127.0.0.1", Port: port, TLS: mail.TLSNone, From: "Leadloom <hello@sender.example>"}})
	defer svc.Accounts.Close()
	stop := startQueueStoppable(b, st, svc)
	defer stop()
	sc := account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())
	people := make([]campaign.Person, n)
	for i := range people {
		people[i] = campaign.Person{Email: fmt.Sprintf("p%06d@example.com", i), FirstName: "Ada"}
	}
	v, err := svc.Campaigns.Create(b.Context(), sc, service.CampaignInput{Name: optional.Of("Bench"), Subject: optional.Of("Hi {{ lead.first_name | default: 'you' }}"),
		HTML:     optional.Of("<p>Dear {{ lead.first_name | default: 'you' }},</p><p>" + strings.Repeat("three customers tell how they answer a new lead within five minutes. ", 30) + "</p>"),
		Audience: service.AudienceInput{Recipients: optional.Of(people)}})
	if err == nil {
		_, err = svc.Campaigns.Start(b.Context(), sc, v.ID, service.IfMatch{})
	}
	if err != nil {
		b.Fatal(err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	wait := func(state campaign.State) {
		for range tick.C {
			v, err := svc.Campaigns.Get(b.Context(), sc, v.ID)
			if err != nil {
				b.Fatal(err)
			}
			if v.State == state || v.State == campaign.Done {
				return
			}
		}
	}
	began := time.Now()
	wait(campaign.Sending)
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "prepared/s")
	began, spent := time.Now(), cpu(b)
	wait(campaign.Done)
	took, spent := time.Since(began), cpu(b)-spent
	b.ReportMetric(float64(n)/took.Seconds(), "messages/s")
	b.ReportMetric(spent.Seconds()/float64(n)*1000, "cpu-s/1000")
	m, err := svc.Campaigns.Metrics(b.Context(), sc, v.ID)
	if got := total(); err != nil || got != fmt.Sprint(n) || m.Reasons[campaign.ReasonAccepted] != int64(n) {
		failed, _ := svc.Campaigns.Recipients(b.Context(), sc, v.ID, campaign.RowFailed, "", 3)
		b.Errorf("the relay has %s messages, the ledger says %v (%v); want %d", got, m.Reasons, err, n)
		for _, r := range failed {
			b.Logf("%+v", r)
		}
	}
}
