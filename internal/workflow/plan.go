package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
)

// Action is one configured node that does something. It is made once per version and shared by all runs.
type Action interface {
	// Do performs a pure step through w, or plans an outside one (w.Call, w.Send, w.Sync) and says so in Result.
	// A fault is the step's failure; any other error rolls the transaction back and the job is tried again.
	Do(w World) (Result, error)
}

// Result is what a step came to.
type Result struct {
	Exit    string         // the way out by name; empty is next
	Output  map[string]any // shown in the inspector; no secrets
	Outside bool           // an effect was planned: its outcome moves the run
}

// Kind describes a type of node to the static check, the schema and the reader.
type Kind struct {
	Type      string
	Summary   string
	Outside   bool
	NeedsLead bool
	Exits     []string // optional named exits besides next
	Config    any      // pointer to an empty configuration struct, for the schema
}

// Kinds is the list of actions; package action has the real one.
type Kinds interface {
	// Compile checks a configuration; the action is nil when problems are returned. False for an unknown type.
	Compile(nodeType string, config json.RawMessage, path string) (Action, []fault.Field, bool)
	Kind(nodeType string) (Kind, bool)
	Types() []string
}

// World is all that a step may touch; the service implements it inside one transaction.
type World interface {
	Now() time.Time
	Lead() *lead.Lead // as it is now, with what earlier steps did; nil for a run without a lead
	View() condition.View
	Render(t *Text, escape func(string) string) (string, error)
	SetField(field string, value any) (changed bool, err error)
	ChangeTags(add, remove []string) (changed bool, err error)
	AddScore(points int64, reason string) error
	AssignOwner(userID string) (changed bool, err error)
	CreateTask(Task) (id string, err error)
	Call(Call) error
	Send(Email) error
	Sync(connectionID string) error
}

// Task is what action.create_task asks for.
type Task struct {
	Title   string
	Due     time.Time // zero for none
	OwnerID string    // empty: the lead's owner
}

// Call is an HTTP call to be made, with every text rendered.
type Call struct {
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      json.RawMessage   `json:"body,omitempty"`
	Save      map[string]string `json:"save,omitempty"`
	Timeout   int64             `json:"timeout_seconds,omitempty"`
	OnUnknown string            `json:"on_unknown,omitempty"`
}

// Email is a message to be sent to the run's lead, or to To when that is set.
type Email struct {
	To            string `json:"to,omitempty"`
	Subject       string `json:"subject,omitempty"` // Liquid, like HTML and Text
	HTML          string `json:"html,omitempty"`
	Text          string `json:"text,omitempty"`
	Template      string `json:"template,omitempty"`
	Transactional bool   `json:"transactional,omitempty"`
}

// Types of nodes that the interpreter itself knows.
const (
	TypeBranch = "branch.if"
	TypeWait   = "wait.duration"
)

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
		var cfg struct {
			Condition json.RawMessage `json:"condition"`
		}
		c.problems = append(c.problems, Strict(n.Config, path+".config", &cfg)...)
		if len(cfg.Condition) == 0 {
			c.bad(path+".config.condition", "required", "say what to ask")
		}
		p.Cond = c.condition(cfg.Condition, path+".config.condition")
		if n.Next != "" {
			c.bad(path+".next", "unexpected", "a branch leaves by its exits yes and no")
		}
	case TypeWait:
		p.Kind = Kind{Type: TypeWait}
		var cfg struct {
			Duration string `json:"duration"`
		}
		c.problems = append(c.problems, Strict(n.Config, path+".config", &cfg)...)
		span, err := condition.ParseSpan(cfg.Duration)
		if err != nil || span.Elapsed() > MaxWait {
			c.bad(path+".config.duration", "bad_duration", `write a duration such as "15m", "2h", "3d" or "2w", at most 365 days`)
		}
		p.Wait = span.Elapsed()
	default:
		action, problems, known := c.kinds.Compile(n.Type, n.Config, path+".config")
		if !known {
			c.bad(path+".type", "unknown_action", "there is no node type %q; did you mean %q?", n.Type, condition.Nearest(n.Type, append(c.kinds.Types(), TypeBranch, TypeWait)))
		}
		c.problems = append(c.problems, problems...)
		p.Action = action
		p.Kind, _ = c.kinds.Kind(n.Type)
		exits = p.Kind.Exits
		c.plan.NeedsLead = c.plan.NeedsLead || p.Kind.NeedsLead
	}
	if n.Type != TypeBranch && n.Next == "" {
		c.bad(path+".next", "required", `say where the run goes next: a node, or "end"`)
	}
	for _, name := range sortedKeys(n.Exits) {
		if !contains(exits, name) {
			c.bad(path+".exits."+name, "unknown_exit", "%s has no exit %q%s", n.Type, name, listed("; it has ", exits))
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

// leaves lists a node's ways out with the path of each.
func (n *PlanNode) leaves() map[string]string {
	out := map[string]string{}
	if n.Next != "" {
		out["next"] = n.Next
	}
	for name, target := range n.Exits {
		out["exits."+name] = target
	}
	if t := n.OnError.Then; t != "park" && t != "continue" && t != End {
		out["on_error.then"] = t
	}
	return out
}

func (c *compiler) graph() {
	if c.def.Start == "" {
		c.bad("start", "required", "name the first node")
		return
	}
	if c.plan.nodes[c.def.Start] == nil {
		c.bad("start", "unknown_node", "there is no node %q%s", c.def.Start, suggestion(c.def.Start, c.plan.nodes))
		return
	}
	for _, id := range sortedKeys(c.plan.nodes) {
		leaves := c.plan.nodes[id].leaves()
		for _, key := range sortedKeys(leaves) {
			if target := leaves[key]; target != End && c.plan.nodes[target] == nil {
				c.bad("nodes."+id+"."+key, "unknown_node", "there is no node %q%s", target, suggestion(target, c.plan.nodes))
			}
		}
	}
	reached := map[string]bool{}
	c.reach(c.def.Start, reached)
	for _, id := range sortedKeys(c.plan.nodes) {
		if !reached[id] {
			c.bad("nodes."+id, "unreachable", "no way leads to this node; connect it or remove it")
		}
	}
	c.cycles()
}

func suggestion(id string, nodes map[string]*PlanNode) string {
	near := condition.Nearest(id, append(sortedKeys(nodes), End))
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}

func (c *compiler) reach(start string, reached map[string]bool) {
	todo := []string{start}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n := c.plan.nodes[id]; n != nil && !reached[id] {
			reached[id] = true
			for _, target := range n.leaves() {
				todo = append(todo, target)
			}
		}
	}
}

// cycles refuses a circle without a wait of at least a minute: it would run as fast as it can. Removing such waits
// from the graph must leave none.
func (c *compiler) cycles() {
	const onPath, done = 1, 2
	state := map[string]int{}
	var visit func(id string) bool
	visit = func(id string) bool {
		n := c.plan.nodes[id]
		if n == nil || state[id] == done || n.Wait >= time.Minute {
			return false
		}
		if state[id] == onPath {
			c.bad("nodes."+id, "cycle_without_wait", "the run would go round here without a pause; put a wait of at least one minute into the circle")
			return true
		}
		state[id] = onPath
		leaves := n.leaves()
		for _, key := range sortedKeys(leaves) {
			if visit(leaves[key]) {
				return true
			}
		}
		state[id] = done
		return false
	}
	for _, id := range sortedKeys(c.plan.nodes) {
		if visit(id) {
			return
		}
	}
}

// Warnings lists what is allowed but surprising: a workflow that writes a field it listens to.
func (p *Plan) Warnings() []string {
	var out []string
	for _, t := range p.Triggers {
		if t.Own {
			out = append(out, fmt.Sprintf("The trigger %s also fires for this workflow's own changes; the loop limits will stop it if it goes round.", t.ID))
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
