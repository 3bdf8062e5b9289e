package connectortest

import (
	"testing"
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/outbound"
	"leadloom/internal/secret"
)

func genericTarget(t testing.TB) Target {
	t.Helper()
	sim, err := simulator.Start(simulator.Options{APIKey: "right"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	c := outbound.New(outbound.Policy{})
	t.Cleanup(c.Close)
	c.AllowTarget(sim.Addr())
	make := func(key secret.Masked) connector.Connector {
		out, err := connector.New(connector.Generic, connector.Env{Client: c, Now: time.Now, BaseURL: sim.APIURL(), Secrets: map[string]secret.Masked{"api_key": key}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return Target{sim, make("right"), make("wrong")}
}

func TestGeneric(t *testing.T) {
	Run(t, func(t *testing.T) Target { return genericTarget(t) })
}
