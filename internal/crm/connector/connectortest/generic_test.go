package connectortest

import (
	"testing"

	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/secret"
)

var genericSetup = Setup{
	Type: connector.Generic,
	Start: func(t testing.TB, o simulator.Options) (*simulator.Simulator, connector.Env) {
		t.Helper()
		if o.ClientID == "" {
			o.APIKey = "right-key"
		}
		sim, err := simulator.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		return sim, connector.Env{BaseURL: sim.APIURL(), Secrets: map[string]secret.Masked{"api_key": "right-key", "webhook_secret": "hook-secret"}}
	},
	Wrong: func(e *connector.Env) { e.Secrets["api_key"], e.Secrets["client_secret"] = "wrong-key", "wrong" },
	OAuth: func(o *simulator.Options, e *connector.Env) {
		o.ClientID, o.Secret = "client", "of the client"
		if e.BaseURL != "" {
			e.Settings.Auth, e.Settings.TokenURL = "oauth2", e.BaseURL[:len(e.BaseURL)-len("/api")]+"/oauth/token"
			e.Secrets = map[string]secret.Masked{"client_id": "client", "client_secret": "of the client"}
		}
	},
}

func TestGeneric(t *testing.T) { Run(t, genericSetup) }

// TestGeneric_OneByOne is a CRM without a batch route: every record goes alone, with the same results.
func TestGeneric_OneByOne(t *testing.T) {
	alone := genericSetup
	alone.Start = func(t testing.TB, o simulator.Options) (*simulator.Simulator, connector.Env) {
		o.NoBatch = true
		sim, env := genericSetup.Start(t, o)
		env.Settings.BatchPath = "-"
		return sim, env
	}
	Run(t, alone)
}

func TestGeneric_RemembersThatThereIsNoBatchRoute(t *testing.T) {
	w := newWorld(t, genericSetup, simulator.Options{NoBatch: true})
	w.good(leads(3)...)
	w.good(leads(6)[3:]...)
	if w.Sim.Count() != 6 || len(w.Sim.Calls("upsert")) != 6 {
		t.Errorf("%d records by %d calls; want 6 and 6", w.Sim.Count(), len(w.Sim.Calls("upsert")))
	}
}
