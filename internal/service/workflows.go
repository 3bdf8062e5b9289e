package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// Workflows are the verbs on workflows and their runs.
type Workflows struct{ *core }

// WorkflowView is a workflow as a reader sees it.
type WorkflowView struct {
	Workflow   *workflow.Workflow
	Definition json.RawMessage // of the published version, without layout
	Counts     map[workflow.RunStatus]int64
	Warnings   []string
}

// maxWorkflows is how many a tenant may have: each is in memory.
const maxWorkflows = 1000

// compile parses and checks a definition; every problem comes as one fault.
func (c *core) compileNew(raw json.RawMessage) (*workflow.Definition, *workflow.Plan, error) {
	d, problems := workflow.Parse(raw)
	if d == nil {
		return nil, nil, fault.InvalidFields(problems)
	}
	var plan *workflow.Plan
	if len(problems) == 0 {
		plan, problems = workflow.Compile(d, c.flows.kinds)
	}
	if len(problems) > 0 {
		return nil, nil, fault.InvalidFields(problems[:min(len(problems), 100)])
	}
	return d, plan, nil
}

// Create makes and publishes a workflow. id is empty except for demo data.
func (s *Workflows) Create(ctx context.Context, sc account.Scope, id workflow.ID, raw json.RawMessage) (*WorkflowView, error) {
	d, plan, err := s.compileNew(raw)
	if err != nil {
		return nil, err
	}
	return write(ctx, s.core, sc, func(tx *store.Tx) (*WorkflowView, error) {
		if n, err := tx.CountWorkflows(sc); err != nil || n >= maxWorkflows {
			return nil, errOr(err, fault.Conflict("too_many_workflows", "A tenant has at most 1,000 workflows. Delete one first."))
		}
		w := &workflow.Workflow{ID: id, Name: d.Name, Status: workflow.Active, Version: 1, Layout: d.Layout, CreatedBy: string(sc.UserID)}
		if w.ID == "" {
			w.ID = workflow.ID(tx.NewID())
		}
		if err := tx.InsertWorkflow(sc, w); err != nil {
			return nil, err
		}
		out := &WorkflowView{Workflow: w, Definition: d.Canonical(), Counts: map[workflow.RunStatus]int64{}, Warnings: plan.Warnings()}
		if err := s.publish(tx, sc, w, plan, nil, out.Definition); err != nil {
			return nil, err
		}
		return out, s.tellWorkflow(tx, sc, w, event.WorkflowCreated, nil)
	})
}

// publish stores w.Version and starts its schedules; before is the version it replaces, nil for the first.
func (c *core) publish(tx *store.Tx, sc account.Scope, w *workflow.Workflow, plan, before *workflow.Plan, canonical json.RawMessage) error {
	if err := tx.InsertWorkflowVersion(sc, w.ID, w.Version, canonical, digest(canonical), string(sc.UserID)); err != nil {
		return err
	}
	if err := c.plannedSchedules(tx, sc, w, plan, before); err != nil {
		return err
	}
	return tx.BumpCache(sc, areaWorkflows)
}

// plannedSchedules sets the next time of every schedule of an active workflow, and stops those that are gone. One that
// is the same as before keeps its time: publishing often must not put an interval off for ever.
func (c *core) plannedSchedules(tx *store.Tx, sc account.Scope, w *workflow.Workflow, plan, before *workflow.Plan) error {
	planned, err := tx.Schedules(sc, w.ID)
	if err != nil {
		return err
	}
	if err := tx.StopSchedules(sc, w.ID); err != nil || w.Status != workflow.Active {
		return err
	}
	for _, t := range plan.Triggers {
		if t.Schedule == nil {
			continue
		}
		next := store.Schedule{WorkflowID: w.ID, TriggerID: t.ID, Next: t.Schedule.Next(tx.Now())}
		for _, p := range planned {
			if p.TriggerID == t.ID && !p.Next.IsZero() && before.SameSchedule(t.Trigger) {
				next.Next = p.Next
			}
		}
		if err := tx.SaveSchedule(sc, next); err != nil {
			return err
		}
	}
	tx.OnCommit(c.wakeTimers)
	return nil
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func (c *core) tellWorkflow(tx *store.Tx, sc account.Scope, w *workflow.Workflow, t event.Type, extra map[string]any) error {
	all := map[string]any{"name": w.Name, "version": w.Version}
	maps.Copy(all, extra)
	_, err := tx.AppendEvent(sc, event.Event{Type: t, Subject: string(w.ID), Data: data(all)})
	return err
}

// liveWorkflow reads a workflow that is not deleted.
func (c *core) liveWorkflow(r *store.Reader, sc account.Scope, id workflow.ID) (*workflow.Workflow, error) {
	w, err := r.Workflow(sc, id)
	if err != nil {
		return nil, notFound(err, "workflow", string(id))
	}
	if !w.DeletedAt.IsZero() {
		return nil, fault.NotFound("workflow", string(id))
	}
	return w, nil
}

// Get reads a workflow with its published definition and the counts of its runs.
func (s *Workflows) Get(ctx context.Context, sc account.Scope, id workflow.ID) (*WorkflowView, error) {
	return s.view(s.st.Read(ctx), sc, id)
}

func (s *Workflows) view(r *store.Reader, sc account.Scope, id workflow.ID) (*WorkflowView, error) {
	w, err := s.liveWorkflow(r, sc, id)
	if err != nil {
		return nil, err
	}
	out := &WorkflowView{Workflow: w}
	if out.Definition, _, err = r.WorkflowDefinition(sc, id, w.Version); err != nil {
		return nil, err
	}
	if out.Counts, err = runCounts(r, sc, id); err != nil {
		return nil, err
	}
	plan, err := s.compileStored(planKey{sc.Tenant(), id, w.Version}, out.Definition)
	if err != nil {
		return nil, err
	}
	out.Warnings = plan.Warnings()
	return out, nil
}

// WorkflowPage is one page of the list; Total counts all live workflows.
type WorkflowPage struct {
	Workflows []*WorkflowView
	Total     int64
	More      bool
}

// List reads a page of workflows by position, after the given position and id.
func (s *Workflows) List(ctx context.Context, sc account.Scope, afterPosition int64, afterID workflow.ID, limit int) (*WorkflowPage, error) {
	r := s.st.Read(ctx)
	total, err := r.CountWorkflows(sc)
	if err != nil {
		return nil, err
	}
	rows, err := r.Workflows(sc, afterPosition, afterID, limit+1)
	if err != nil {
		return nil, err
	}
	counts, err := r.RunCounts(sc, "")
	if err != nil {
		return nil, err
	}
	out := &WorkflowPage{Total: total, More: len(rows) > limit}
	for _, w := range rows[:min(len(rows), limit)] {
		out.Workflows = append(out.Workflows, &WorkflowView{Workflow: w, Counts: everyState(counts[w.ID])})
	}
	return out, nil
}

// runCounts are the totals of one workflow's runs.
func runCounts(r *store.Reader, sc account.Scope, id workflow.ID) (map[workflow.RunStatus]int64, error) {
	counts, err := r.RunCounts(sc, id)
	return everyState(counts[id]), err
}

// everyState adds the states in which no run is or was.
func everyState(counts map[workflow.RunStatus]int64) map[workflow.RunStatus]int64 {
	out := map[workflow.RunStatus]int64{}
	for _, s := range workflow.RunStatuses {
		out[s] = counts[s]
	}
	return out
}

// Active lists the active workflows by position.
func (s *Workflows) Active(ctx context.Context, sc account.Scope) ([]*WorkflowView, error) {
	r := s.st.Read(ctx)
	page, err := r.Workflows(sc, 0, "", maxWorkflows)
	if err != nil {
		return nil, err
	}
	counts, err := r.RunCounts(sc, "")
	if err != nil {
		return nil, err
	}
	out := []*WorkflowView{}
	for _, w := range page {
		if w.Status == workflow.Active {
			out = append(out, &WorkflowView{Workflow: w, Counts: everyState(counts[w.ID])})
		}
	}
	return out, nil
}

// Update replaces parts of a workflow: change gets the definition as it is and returns the whole new one. A changed
// graph becomes the next version, for new runs only; a changed layout does not.
func (s *Workflows) Update(ctx context.Context, sc account.Scope, id workflow.ID, match IfMatch, change func(json.RawMessage) (json.RawMessage, error)) (*WorkflowView, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*WorkflowView, error) {
		now, err := s.view(tx.Reader, sc, id)
		if err != nil {
			return nil, err
		}
		w := now.Workflow
		if !match.Holds(w.Revision) {
			return nil, fault.Stale(now)
		}
		raw, err := change(now.Definition)
		if err != nil {
			return nil, err
		}
		d, plan, err := s.compileNew(raw)
		if err != nil {
			return nil, err
		}
		canonical := d.Canonical()
		changed := digest(canonical) != digest(now.Definition)
		moved := d.Layout != nil && string(d.Layout) != string(w.Layout)
		if !changed && !moved {
			return now, nil
		}
		if moved {
			w.Layout = d.Layout
		}
		if changed {
			before, err := s.plan(tx, sc, id, w.Version)
			if err != nil {
				return nil, err
			}
			w.Name, w.Version = d.Name, w.Version+1
			now.Definition, now.Warnings = canonical, plan.Warnings()
			if err := s.publish(tx, sc, w, plan, before, canonical); err != nil {
				return nil, err
			}
		}
		if err := tx.UpdateWorkflow(sc, w); err != nil || !changed {
			return now, err
		}
		return now, s.tellWorkflow(tx, sc, w, event.WorkflowPublished, nil)
	})
}

// Pause stops all starts; runs inside are held when they are due.
func (s *Workflows) Pause(ctx context.Context, sc account.Scope, id workflow.ID) (*workflow.Workflow, error) {
	return s.setStatus(ctx, sc, id, IfMatch{}, workflow.Paused, event.WorkflowPaused)
}

// Resume lets it start runs again and releases those that were held.
func (s *Workflows) Resume(ctx context.Context, sc account.Scope, id workflow.ID) (*workflow.Workflow, error) {
	return s.setStatus(ctx, sc, id, IfMatch{}, workflow.Active, event.WorkflowResumed)
}

// Delete removes a workflow. Its unfinished runs are cancelled when they are next due; what has run stays readable.
func (s *Workflows) Delete(ctx context.Context, sc account.Scope, id workflow.ID, match IfMatch) (*workflow.Workflow, error) {
	return s.setStatus(ctx, sc, id, match, workflow.Deleted, event.WorkflowDeleted)
}

func (s *Workflows) setStatus(ctx context.Context, sc account.Scope, id workflow.ID, match IfMatch, to workflow.Status, t event.Type) (*workflow.Workflow, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*workflow.Workflow, error) {
		w, err := s.liveWorkflow(tx.Reader, sc, id)
		if err != nil {
			return nil, err
		}
		if !match.Holds(w.Revision) {
			return nil, fault.Stale(nil)
		}
		if w.Status == to {
			return w, s.releaseAgain(tx, sc, w)
		}
		plan, err := s.plan(tx, sc, id, w.Version)
		if err != nil {
			return nil, err
		}
		w.Status = to
		if to == workflow.Deleted {
			w.Status, w.DeletedAt = workflow.Paused, tx.Now()
		}
		if err := tx.UpdateWorkflow(sc, w); err != nil {
			return nil, err
		}
		if err := s.plannedSchedules(tx, sc, w, plan, nil); err != nil {
			return nil, err
		}
		if err := tx.BumpCache(sc, areaWorkflows); err != nil {
			return nil, err
		}
		if to != workflow.Paused {
			if err := enqueueRelease(tx, sc, id); err != nil {
				return nil, err
			}
		}
		return w, s.tellWorkflow(tx, sc, w, t, nil)
	})
}

func enqueueRelease(tx *store.Tx, sc account.Scope, id workflow.ID) error {
	return tx.Enqueue(releaseArgs{Tenant: string(sc.Tenant()), Workflow: string(id)}, nil)
}

// releaseAgain makes a second resume help where the job of the first has died.
func (c *core) releaseAgain(tx *store.Tx, sc account.Scope, w *workflow.Workflow) error {
	if w.Status != workflow.Active {
		return nil
	}
	counts, err := runCounts(tx.Reader, sc, w.ID)
	if err != nil || counts[workflow.Held] == 0 {
		return err
	}
	return enqueueRelease(tx, sc, w.ID)
}

// WorkflowStatus answers for a workflow's id or for a run's.
type WorkflowStatus struct {
	Workflow *workflow.Workflow
	Run      *workflow.Run // the one asked for, or the latest; nil without any
	AskedRun bool
	Counts   map[workflow.RunStatus]int64
}

// Status says where a workflow or a run stands.
func (s *Workflows) Status(ctx context.Context, sc account.Scope, id string) (*WorkflowStatus, error) {
	r := s.st.Read(ctx)
	out := &WorkflowStatus{}
	w, err := s.liveWorkflow(r, sc, workflow.ID(id))
	if fault.IsKind(err, fault.KindNotFound) {
		run, runErr := r.Run(sc, workflow.RunID(id))
		if runErr != nil {
			return nil, notFound(runErr, "workflow or run", id)
		}
		out.Run, out.AskedRun = run, true
		w, err = r.Workflow(sc, run.WorkflowID)
	}
	if err != nil {
		return nil, err
	}
	out.Workflow = w
	if out.Run == nil {
		last, err := r.Runs(sc, store.RunFilter{Workflow: w.ID, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(last) > 0 {
			out.Run = last[0]
		}
	}
	out.Counts, err = runCounts(r, sc, w.ID)
	return out, err
}

// Schema is the JSON Schema of a definition as this binary takes it.
func (s *Workflows) Schema() map[string]any { return workflow.Schema(s.flows.kinds) }

// releaseArgs asks for the held runs of a workflow to go on.
type releaseArgs struct {
	Tenant   string `json:"tenant_id"`
	Workflow string `json:"workflow_id"`
}

// Kind implements river.JobArgs.
func (releaseArgs) Kind() string { return "workflow.release" }

var _ river.JobArgs = releaseArgs{}
