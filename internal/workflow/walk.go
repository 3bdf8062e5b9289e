package workflow

import (
	"encoding/json"
	"fmt"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
)

// Limits of one run and of one transaction.
const (
	MaxStepsPerWalk = 50
	MaxVisits       = 1_000
	MaxSteps        = 10_000
	MaxContext      = 256 << 10
)

// Halt says why a walk stopped.
type Halt uint8

// The reasons: the run moved on to be continued in another job, waits for a timer or for an outside step, or has
// ended (finished or parked; see its status).
const (
	HaltMore Halt = iota
	HaltTimer
	HaltOutside
	HaltEnded
)

// Walked is what a walk did. Steps are new ones in order; Left is the earlier step that was completed first.
type Walked struct {
	Halt  Halt
	Due   time.Time // of HaltTimer
	Left  *Step     // only Seq, State, FinishedAt and Exit are set
	Steps []Step
}

// Walk moves the run through pure steps until it must wait, must touch the outside, has ended or has used its share
// of the transaction. It changes r, and the world only through w. An error means that nothing of it may be kept.
func Walk(p *Plan, r *Run, w World, env condition.Env) (Walked, error) {
	var out Walked
	now := w.Now()
	r.Status, r.Parked = Running, nil
	if r.Phase == PhaseDue {
		if n := p.Node(r.Node); n != nil {
			out.Left = &Step{Seq: r.Steps, State: StepDone, FinishedAt: now, Exit: "next"}
			r.Node = n.Next
		}
		r.Phase = PhaseEnter
	}
	for i := 0; ; i++ {
		if r.LeadID != "" && w.Lead() == nil {
			return end(r, &out, OutcomeLeadGone, now), nil
		}
		if outcome := p.ending(w.View(), env); outcome != "" {
			return end(r, &out, outcome, now), nil
		}
		if r.Node == End {
			return end(r, &out, OutcomeCompleted, now), nil
		}
		if i >= MaxStepsPerWalk {
			out.Halt = HaltMore
			return out, nil
		}
		halted, err := enter(p, r, w, env, &out)
		if halted || err != nil {
			return out, err
		}
	}
}

// ending is the outcome of the first goal or exit whose condition holds; empty when none does.
func (p *Plan) ending(v condition.View, env condition.Env) string {
	for _, g := range p.goals {
		if g.cond.Eval(v, env) {
			return OutcomeGoal
		}
	}
	for _, x := range p.exits {
		if x.cond.Eval(v, env) {
			return OutcomeExited
		}
	}
	return ""
}

func end(r *Run, out *Walked, outcome string, now time.Time) Walked {
	r.Status, r.Outcome, r.Phase, r.FinishedAt, out.Halt = Finished, outcome, PhaseEnter, now, HaltEnded
	return *out
}

func park(r *Run, out *Walked, p Problem) {
	if p.Node == "" {
		p.Node = r.Node
	}
	r.Status, r.Parked, out.Halt = Parked, &p, HaltEnded
}

// enter executes the run's node once; true when the walk must stop.
func enter(p *Plan, r *Run, w World, env condition.Env, out *Walked) (bool, error) {
	n := p.Node(r.Node)
	if n == nil {
		park(r, out, Problem{Code: "unknown_node", Message: fmt.Sprintf("This version has no node %q.", r.Node)})
		return true, nil
	}
	if r.Steps >= MaxSteps {
		park(r, out, Problem{Code: "too_many_steps", Message: fmt.Sprintf("The run has made %d steps, the most a run may make.", MaxSteps)})
		return true, nil
	}
	if r.Visits == nil {
		r.Visits = map[string]int64{}
	}
	if r.Visits[n.ID] >= MaxVisits {
		park(r, out, Problem{Code: "loop_node", Message: fmt.Sprintf("The run has come to this node %d times.", MaxVisits)})
		return true, nil
	}
	if n.Broken != nil {
		park(r, out, *n.Broken)
		return true, nil
	}
	r.Visits[n.ID]++
	r.Steps++
	now := w.Now()
	step := Step{Seq: r.Steps, Node: n.ID, Visit: r.Visits[n.ID], Type: n.Type, State: StepDone, StartedAt: now, FinishedAt: now}
	switch {
	case n.Type == TypeBranch:
		verdict := n.Cond.Explain(w.View(), env)
		step.Exit = "no"
		if verdict.Result {
			step.Exit = "yes"
		}
		step.Decision = marshal(verdict)
		r.Node = n.to(step.Exit)
	case n.Type == TypeWait:
		step.State, step.FinishedAt = StepOpen, time.Time{}
		out.Steps = append(out.Steps, step)
		out.Halt, out.Due = HaltTimer, now.Add(n.Wait)
		r.Status, r.Phase = Waiting, PhaseWait
		return true, nil
	default:
		return act(n, r, w, step, out)
	}
	out.Steps = append(out.Steps, step)
	return false, nil
}

func act(n *PlanNode, r *Run, w World, step Step, out *Walked) (bool, error) {
	if n.Kind.NeedsLead && w.Lead() == nil {
		step.fail(Problem{Code: "lead_required", Message: "This node needs a lead, and the run has none.", Node: n.ID})
		out.Steps = append(out.Steps, step)
		return failed(n, r, *step.Error, out), nil
	}
	res, err := n.Action.Do(w)
	if f := fault.As(err); f != nil && stepFault(f.Kind) {
		step.fail(problemOf(f, n.ID))
		out.Steps = append(out.Steps, step)
		return failed(n, r, *step.Error, out), nil
	}
	if err != nil {
		return true, fmt.Errorf("node %s (%s): %w", n.ID, n.Type, err)
	}
	if len(res.Output) > 0 {
		step.Output = marshal(res.Output)
	}
	if res.Outside {
		step.State, step.FinishedAt = StepOpen, time.Time{}
		out.Steps = append(out.Steps, step)
		out.Halt = HaltOutside
		r.Status, r.Phase = Waiting, PhaseOutside
		return true, nil
	}
	step.Exit = res.Exit
	if step.Exit == "" {
		step.Exit = "next"
	}
	r.Node = n.to(step.Exit)
	out.Steps = append(out.Steps, step)
	return false, nil
}

// stepFault tells a step's own failure from one of the database, which must roll back and be tried again.
func stepFault(k fault.Kind) bool {
	return k != fault.KindUnavailable && k != fault.KindInternal && k != fault.KindTooMany
}

func problemOf(f *fault.Error, node string) Problem {
	p := Problem{Code: f.Code, Message: f.Message, Node: node}
	if len(f.Fields) == 1 {
		p.Code = f.Fields[0].Code
	}
	return p
}

func (s *Step) fail(p Problem) {
	s.State, s.Exit, s.Error = StepFailed, "error", &p
}

// failed applies the node's error policy after its retries; true when the walk must stop.
func failed(n *PlanNode, r *Run, p Problem, out *Walked) bool {
	switch then := n.OnError.Then; then {
	case "park":
		park(r, out, p)
		return true
	case "continue":
		r.Node = n.Next
	default: // end or a node
		r.setContext("error", map[string]any{"code": p.Code, "message": p.Message, "node": p.Node})
		r.Node = then
	}
	return false
}

func (r *Run) setContext(key string, value any) {
	if r.Context == nil {
		r.Context = map[string]any{}
	}
	r.Context[key] = value
}

// Save puts variables into the run's context; a fault when it would grow beyond its limit.
func (r *Run) Save(vars map[string]any) error {
	if len(vars) == 0 {
		return nil
	}
	next := map[string]any{}
	for k, v := range r.Context {
		next[k] = v
	}
	for k, v := range vars {
		next[k] = v
	}
	raw, err := json.Marshal(next)
	if err != nil || len(raw) > MaxContext {
		return fault.Invalid("context", "context_too_large", "the run's variables together are larger than 256 KiB")
	}
	r.Context = next
	return nil
}

// Resume moves a run whose outside step has come to an outcome. Left is the completed step; the run is then at its
// next node, parked or at its end, and must be walked on unless it is parked.
func Resume(p *Plan, r *Run, o Outcome, now time.Time) Walked {
	left := &Step{Seq: r.Steps, State: StepDone, FinishedAt: now, Exit: "next"}
	out := Walked{Left: left}
	if len(o.Output) > 0 {
		left.Output = marshal(o.Output)
	}
	n := p.Node(r.Node)
	r.Phase, r.Status = PhaseEnter, Running
	if n == nil {
		park(r, &out, Problem{Code: "unknown_node", Message: fmt.Sprintf("This version has no node %q.", r.Node)})
		return out
	}
	problem := Problem{Code: o.Code, Message: o.Message, Node: n.ID}
	switch o.State {
	case Done:
		r.Node = n.Next
	case Skipped:
		left.State, left.Exit, left.Error = StepSkipped, "skipped", &problem
		r.Node = n.to("skipped")
	case Unknown:
		left.State, left.Exit, left.Error = StepUnknown, "error", &problem
		park(r, &out, problem)
	default:
		left.fail(problem)
		left.Exit = "error"
		failed(n, r, problem, &out)
	}
	return out
}

func marshal(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	const most = 64 << 10
	if len(raw) > most {
		raw, _ = json.Marshal(map[string]any{"cut": true, "bytes": len(raw)})
	}
	return raw
}
