package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/fault"
)

// Types of nodes that the interpreter itself knows.
const (
	TypeBranch = "branch.if"
	TypeWait   = "wait.duration"
)

type branchConfig struct {
	Condition json.RawMessage `json:"condition" doc:"What to ask of the lead as it is then."`
}

type waitConfig struct {
	Duration string `json:"duration" doc:"How long, such as 15m, 2h, 3d or 2w; at most 365 days."`
}

// PlanNode is a compiled node. Broken says why it cannot run in this binary.
type PlanNode struct {
	ID      string
	Type    string
	Kind    Kind
	Next    string
	Exits   map[string]string
	OnError OnError
	Cond    *condition.Condition // of a branch
	Wait    time.Duration        // of a wait
	Action  Action
	Broken  *Problem
}

// to is where an exit leads; an exit that is not connected falls back to next.
func (n *PlanNode) to(exit string) string {
	if target, ok := n.Exits[exit]; ok {
		return target
	}
	return n.Next
}

// Plan is a compiled definition, safe for concurrent use.
type Plan struct {
	Workflow  ID
	Version   int64
	Name      string
	Start     string
	Reentry   Reentry
	Entry     *condition.Condition
	Triggers  []compiledTrigger
	NeedsLead bool
	nodes     map[string]*PlanNode
	goals     []compiledEnding
	exits     []compiledEnding
}

type compiledEnding struct {
	id   string
	cond *condition.Condition
}

// SameSchedule reports whether the plan has this very schedule.
func (p *Plan) SameSchedule(t Trigger) bool {
	return p != nil && slices.ContainsFunc(p.Triggers, func(o compiledTrigger) bool {
		return o.ID == t.ID && o.Type == t.Type && o.Cron == t.Cron && o.Every == t.Every && o.Zone == t.Zone
	})
}

// Node finds a node; nil for an unknown id.
func (p *Plan) Node(id string) *PlanNode { return p.nodes[id] }

// Reentry is a compiled entry rule.
type Reentry struct {
	Mode  string // once, always, not_while_inside or after
	After time.Duration
}

func parseReentry(s string) (Reentry, bool) {
	switch s {
	case "":
		return Reentry{Mode: "not_while_inside"}, true
	case "once", "always", "not_while_inside":
		return Reentry{Mode: s}, true
	}
	if rest, ok := strings.CutPrefix(s, "after:"); ok {
		if span, err := condition.ParseSpan(rest); err == nil {
			return Reentry{Mode: "after", After: span.Elapsed()}, true
		}
	}
	return Reentry{}, false
}

// Compile checks what a definition means and prepares it for runs. The plan is returned even with problems, so that a
// version stored by another binary parks its runs at the node it cannot run instead of losing them.
func Compile(d *Definition, kinds Kinds) (*Plan, []fault.Field) {
	c := compiler{def: d, kinds: kinds, plan: &Plan{Name: d.Name, Start: d.Start, nodes: map[string]*PlanNode{}}}
	c.entry()
	for _, id := range sortedKeys(d.Nodes) {
		c.node(id, d.Nodes[id])
	}
	c.graph()
	for i, t := range d.Triggers {
		c.trigger(i, t)
	}
	c.plan.goals = c.endings("goals", d.Goals)
	c.plan.exits = c.endings("exits", d.Exits)
	return c.plan, c.problems
}

type compiler struct {
	def      *Definition
	kinds    Kinds
	plan     *Plan
	problems []fault.Field
}

func (c *compiler) bad(path, code, format string, args ...any) {
	c.problems = append(c.problems, fault.Field{Path: path, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) condition(raw json.RawMessage, path string) *condition.Condition {
	cond, problems := condition.Parse(raw, path, condition.LeadFields)
	c.problems = append(c.problems, problems...)
	return cond
}

func (c *compiler) entry() {
	r, ok := parseReentry(c.def.Entry.Reentry)
	if !ok {
		c.bad("entry.reentry", "unknown_value", `write once, always, not_while_inside or after:<duration>, such as "after:30d"`)
		r, _ = parseReentry("")
	}
	c.plan.Reentry = r
	c.plan.Entry = c.condition(c.def.Entry.Condition, "entry.condition")
}

func (c *compiler) endings(key string, list []Ending) (out []compiledEnding) {
	for i, e := range list {
		out = append(out, compiledEnding{e.ID, c.condition(e.Condition, fmt.Sprintf("%s[%d].condition", key, i))})
	}
	return out
}

func (c *compiler) node(id string, n Node) {
	path := "nodes." + id
	before := len(c.problems)
	p := &PlanNode{ID: id, Type: n.Type, Next: n.Next, Exits: n.Exits}
	if n.OnError != nil {
		p.OnError = *n.OnError
	}
	if p.OnError.Then == "" {
		p.OnError.Then = "park"
	}
	c.plan.nodes[id] = p
	exits := []string{}
	switch n.Type {
	case TypeBranch:
		p.Kind = Kind{Type: TypeBranch}
		exits = []string{"yes", "no"}
		var cfg branchConfig
		c.problems = append(c.problems, Strict(n.Config, path+".config", &cfg)...)
		if absent(cfg.Condition) {
			c.bad(path+".config.condition", "required", "say what to ask")
		}
		p.Cond = c.condition(cfg.Condition, path+".config.condition")
		if n.Next != "" {
			c.bad(path+".next", "unexpected", "a branch leaves by its exits yes and no")
		}
	case TypeWait:
		p.Kind = Kind{Type: TypeWait}
		var cfg waitConfig
		c.problems = append(c.problems, Strict(n.Config, path+".config", &cfg)...)
		span, err := condition.ParseSpan(cfg.Duration)
		if err != nil || span.Elapsed() > MaxWait {
			c.bad(path+".config.duration", "bad_duration", `write a duration such as "15m", "2h", "3d" or "2w", at most 365 days`)
		}
		p.Wait = span.Elapsed()
	default:
		action, problems, known := c.kinds.Compile(n.Type, n.Config, path+".config")
		if !known {
			c.bad(path+".type", "unknown_action", "there is no node type %q; did you mean %q?", clip(n.Type), condition.Nearest(n.Type, append(c.kinds.Types(), TypeBranch, TypeWait)))
		}
		c.problems = append(c.problems, problems...)
		p.Action = action
		p.Kind, _ = c.kinds.Kind(n.Type)
		if a, ok := action.(interface{ NeedsLead() bool }); ok && a.NeedsLead() {
			p.Kind.NeedsLead = true
		}
		exits = p.Kind.Exits
		c.plan.NeedsLead = c.plan.NeedsLead || p.Kind.NeedsLead
	}
	if n.Type != TypeBranch && n.Next == "" {
		c.bad(path+".next", "required", `say where the run goes next: a node, or "end"`)
	}
	for _, name := range sortedKeys(n.Exits) {
		if !contains(exits, name) {
			c.bad(path+".exits."+clip(name), "unknown_exit", "%s has no exit %q%s", n.Type, clip(name), listed("; it has ", exits))
		}
	}
	if n.Type == TypeBranch {
		for _, name := range exits {
			if n.Exits[name] == "" {
				c.bad(path+".exits."+name, "required", `say where the run goes then: a node, or "end"`)
			}
		}
	}
	if n.OnError != nil && n.OnError.Retry != nil && !p.Kind.Outside {
		c.bad(path+".on_error.retry", "unexpected", "only steps that touch the outside are retried")
	}
	if len(c.problems) > before {
		f := c.problems[before]
		p.Broken = &Problem{Code: f.Code, Message: f.Path + ": " + f.Message, Node: id}
	}
}

func listed(prefix string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return prefix + strings.Join(names, ", ")
}

// Warnings lists what is allowed but surprising: a workflow that writes a field it listens to.
func (p *Plan) Warnings() []string {
	var out []string
	for i := range p.Triggers {
		t := &p.Triggers[i]
		for _, id := range sortedKeys(p.nodes) {
			a, ok := p.nodes[id].Action.(interface{ Writes() string })
			if !ok || !t.listensTo(a.Writes()) {
				continue
			}
			then := "Its own changes do not start it again."
			if t.Own {
				then = "It also fires for the workflow's own changes: the loop limits will stop it if it goes round."
			}
			out = append(out, fmt.Sprintf("The node %s writes %s, which the trigger %s listens to. %s", id, a.Writes(), t.ID, then))
		}
	}
	return out
}

// Listens reports whether any trigger waits for events of leads.
func (p *Plan) Listens(t event.Type) bool {
	for i := range p.Triggers {
		if p.Triggers[i].hears(t) {
			return true
		}
	}
	return false
}
