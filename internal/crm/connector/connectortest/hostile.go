package connectortest

import (
	"strings"

	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
)

// hostileItems are the cases of a CRM that means harm, or is another one than we think.
func hostileItems() []item {
	return []item{{name: "38 hostile replies", run: hostile}, {name: "39 nothing secret comes back", run: planted}, {name: "41 our own server", run: ownServer}}
}

func hostile(w *world) {
	for _, k := range []simulator.Kind{simulator.HTML, simulator.BadUTF8, simulator.NULText, simulator.DeepJSON, simulator.HugeBody, simulator.GzipBomb, simulator.Redirect} {
		w.Sim.Inject(simulator.Fault{Op: "*", Kind: k, Location: "http://169.254.169.254/"})
		out := w.sync(leads(2)...)
		if out.stop == nil || out.stop.Class != connector.ClassConfig || len(out.verdicts) != 0 {
			w.Errorf("%s: verdicts %v, stop %v; want a config error and no success", k, out.verdicts, out.stop)
		}
		if k == simulator.Redirect && out.stop != nil && !strings.Contains(out.stop.Message, "169.254.169.254") {
			w.Errorf("redirect: %q does not name where to", out.stop.Message)
		}
	}
}

func planted(w *world) {
	w.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.Echo})
	in := leads(2)
	in[0].Email, in[0].Phone = "planted.person@private.example", "+49 170 1234567"
	var said strings.Builder
	for _, v := range w.sync(in...).verdicts {
		if v.Err == nil {
			w.Fatal("an echo counts as success")
		}
		said.WriteString(v.Err.Error())
	}
	if _, err := w.con.Test(w.ctx()); err != nil {
		said.WriteString(err.Error())
	}
	if _, err := w.wrong().Test(w.ctx()); err != nil {
		said.WriteString(err.Error())
	}
	if said.Len() == 0 || w.log.String() == "" {
		w.Fatal("nothing was said or logged")
	}
	for name, v := range w.env.Secrets {
		for where, text := range map[string]string{"an error": said.String(), "the log": w.log.String()} {
			if strings.Contains(text, v.Reveal()) {
				w.Errorf("%s is in %s: %s", name, where, text)
			}
		}
	}
	for where, text := range map[string]string{"an error": said.String(), "the log": w.log.String()} {
		if found := contains(text, "planted.person", "private.example", "170 1234567"); found != nil {
			w.Errorf("%v is in %s: %s", found, where, text)
		}
	}
	if found := contains(w.log.String(), string(in[0].ID), "Lovelace"); found != nil {
		w.Errorf("%v is in the log: %s", found, w.log.String())
	}
}

func ownServer(w *world) {
	w.Sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Instance, NewID: instance})
	w.wantStop(w.sync(leads(2)...), connector.ClassSelfLoop)
	w.Sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Fail, Status: 508})
	w.wantStop(w.sync(leads(2)...), connector.ClassSelfLoop)
	w.env.Hops = 3
	w.con = w.connector(w.env)
	before := len(w.Sim.Calls(""))
	w.wantStop(w.sync(leads(2)...), connector.ClassSelfLoop)
	if n := len(w.Sim.Calls("")) - before; n != 0 {
		w.Errorf("%d calls for a change that went round a ring", n)
	}
}
