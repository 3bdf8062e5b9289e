// Package actiontest is the suite that every workflow action passes. A new action is one line in action.All and one Case;
// an action without a Case fails.
package actiontest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/workflow"
)

// Case is what the suite must know of one action.
type Case struct {
	Type string
	Good string   // a configuration that is accepted
	Did  []string // what Do asks of the World, in World's words
	Bad  []Bad    // configurations that are refused; unknown keys and wrong types are tried by the suite itself
}

// Bad is a configuration, and the path below it and the code of a problem that must be named.
type Bad [3]string

// Run holds every kind of the registry against its case.
func Run(t *testing.T, kinds workflow.Kinds, cases []Case) {
	t.Helper()
	byType := map[string]Case{}
	for _, c := range cases {
		byType[c.Type] = c
	}
	for _, name := range kinds.Types() {
		t.Run(name, func(t *testing.T) {
			c, ok := byType[name]
			if !ok {
				t.Fatal("this action has no case: write one, it is a line")
			}
			kind, _ := kinds.Kind(name)
			s := suite{t, kinds, kind, c}
			s.declared()
			s.refusals()
			s.acts()
			s.failures()
			s.shared()
		})
		delete(byType, name)
	}
	for name := range byType {
		t.Errorf("the case %s belongs to no action", name)
	}
}

type suite struct {
	*testing.T
	kinds workflow.Kinds
	kind  workflow.Kind
	c     Case
}

const path = "nodes.n.config"

var typeName = regexp.MustCompile(`^action\.[a-z]+(_[a-z]+)*$`)

func (s suite) compile(config string) (workflow.Action, []fault.Field) {
	a, problems, known := s.kinds.Compile(s.c.Type, json.RawMessage(config), path)
	if !known {
		s.Fatalf("%s is listed and not known", s.c.Type)
	}
	if (a == nil) != (len(problems) > 0) {
		s.Fatalf("%s: an action and problems, or neither: %v", config, problems)
	}
	return a, problems
}

func (s suite) good() workflow.Action {
	s.Helper()
	a, problems := s.compile(s.c.Good)
	if a == nil {
		s.Fatalf("the good configuration is refused: %v", problems)
	}
	return a
}

// declared: a name, a sentence, and a documented key for everything that can be configured.
func (s suite) declared() {
	if !typeName.MatchString(s.kind.Type) || s.kind.Type != s.c.Type {
		s.Errorf("the type %q is not action.<words>", s.kind.Type)
	}
	if !strings.HasSuffix(s.kind.Summary, ".") {
		s.Error("the summary is no sentence")
	}
	for _, f := range s.keys() {
		if f.Tag.Get("doc") == "" {
			s.Errorf("the key %s has no doc tag", f.Tag.Get("json"))
		}
	}
}

// keys are the fields of the configuration that a definition can set.
func (s suite) keys() (out []reflect.StructField) {
	t := reflect.TypeOf(s.kind.Config)
	if t == nil || t.Kind() != reflect.Pointer {
		s.Fatal("the kind has no configuration struct")
	}
	for i := range t.Elem().NumField() {
		if f := t.Elem().Field(i); f.Tag.Get("json") != "" {
			out = append(out, f)
		}
	}
	return out
}

// refusals: every mistake is named with its path and a code, unknown keys with the nearest known one.
func (s suite) refusals() {
	for _, config := range []string{`[]`, `"x"`, `null`, `7`} {
		s.refused(config, path, "wrong_type")
	}
	for _, f := range s.keys() {
		key := f.Tag.Get("json")
		problem := s.refused(`{"`+key+`x":1}`, path+"."+key+"x", "unknown_key")
		if !strings.Contains(problem.Message, `"`+key+`"`) {
			s.Errorf("the unknown key %sx is refused without the nearest one: %s", key, problem.Message)
		}
		switch f.Type.Kind() {
		case reflect.String, reflect.Int64, reflect.Bool:
			s.refused(`{"`+key+`":{}}`, path+"."+key, "wrong_type")
		case reflect.Map:
			s.refused(`{"`+key+`":5}`, path+"."+key, "wrong_type")
		case reflect.Slice:
			if f.Type.Elem().Kind() == reflect.String {
				s.refused(`{"`+key+`":[5]}`, path+"."+key, "wrong_type")
			}
		}
	}
	for _, b := range s.c.Bad {
		s.refused(b[0], path+b[1], b[2])
	}
	s.compile(`{}`) // may be refused, must not panic
	s.compile(``)
}

func (s suite) refused(config, at, code string) fault.Field {
	s.Helper()
	_, problems := s.compile(config)
	for _, p := range problems {
		if p.Path == at && p.Code == code {
			if p.Message == "" {
				s.Errorf("%s: %s %s has no message", config, at, code)
			}
			return p
		}
	}
	s.Errorf("%s: %v, want %s at %s", config, problems, code, at)
	return fault.Field{}
}

// acts: a pure action does its work at once and leaves nothing to do; an outside one only writes down what is to be done.
func (s suite) acts() {
	w := NewWorld()
	before := *w.lead
	res, err := s.good().Do(w)
	if err != nil {
		s.Fatalf("Do: %v", err)
	}
	if got := w.Did(); !slices.Equal(got, s.c.Did) {
		s.Errorf("Do asked for\n%q, want\n%q", got, s.c.Did)
	}
	if _, err := json.Marshal(res.Output); err != nil {
		s.Errorf("the output is no JSON: %v", err)
	}
	if res.Exit != "" && !slices.Contains(s.kind.Exits, res.Exit) {
		s.Errorf("it leaves by %q and declares %v", res.Exit, s.kind.Exits)
	}
	switch {
	case res.Outside != s.kind.Outside:
		s.Errorf("it is declared outside=%v and acts outside=%v", s.kind.Outside, res.Outside)
	case s.kind.Outside && (w.planned != 1 || w.changed != 0):
		s.Errorf("an outside action plans one effect and changes nothing: %d and %d", w.planned, w.changed)
	case !s.kind.Outside && w.planned != 0:
		s.Error("a pure action planned an effect")
	}
	if _, says := s.good().(interface{ Writes() string }); says != w.wrote {
		s.Error("an action that changes the lead says which field (Writes), no other does: publishing warns by it")
	}
	if s.kind.Outside && !reflect.DeepEqual(before, *w.lead) {
		s.Error("an outside action changed the lead")
	}
}

// failures: what the world refuses is the step's failure, what it cannot do now is passed on as it is.
func (s suite) failures() {
	for _, want := range []error{fault.Invalid("x", "refused", "no"), fault.Unavailable("database_unavailable", "gone", 0, nil), errors.New("broken")} {
		w := NewWorld()
		w.fail = want
		if _, err := s.good().Do(w); !errors.Is(err, want) {
			s.Errorf("the world says %v, the action says %v", want, err)
		}
	}
}

// shared: one compiled action serves all runs of its version at once.
func (s suite) shared() {
	a := s.good()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := NewWorld()
			if _, err := a.Do(w); err != nil || !slices.Equal(w.Did(), s.c.Did) {
				s.Errorf("a second run at the same time did %q: %v", w.Did(), err)
			}
		})
	}
	wg.Wait()
}

// World is a workflow.World in memory that writes down what it is asked for.
type World struct {
	lead             *lead.Lead
	did              []string
	planned, changed int
	wrote            bool // a field of the lead
	fail             error
}

// NewWorld has one lead, Ada, at noon of 2 January 2026.
func NewWorld() *World {
	return &World{lead: &lead.Lead{ID: "lead-1", FirstName: "Ada", Company: "Engines & Co", Email: "ada@example.com", Tags: []string{"old"}, Score: 40, OwnerID: "user-1"}}
}

// Did is what was asked for so far, in order.
func (w *World) Did() []string { return w.did }

func (w *World) note(changes bool, format string, args ...any) error {
	if w.fail != nil {
		return w.fail
	}
	w.did = append(w.did, fmt.Sprintf(format, args...))
	if changes {
		w.changed++
	} else {
		w.planned++
	}
	return nil
}

// Now implements workflow.World.
func (w *World) Now() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// Lead implements workflow.World.
func (w *World) Lead() *lead.Lead { return w.lead }

// View implements workflow.World.
func (w *World) View() condition.View { return &condition.LeadView{Lead: w.lead} }

// Render implements workflow.World.
func (w *World) Render(t *workflow.Text, escape func(string) string) (string, error) {
	if w.fail != nil {
		return "", w.fail
	}
	return t.Render(func(p string) any { return w.View().Value(strings.TrimPrefix(p, "lead.")) }, escape)
}

// SetField implements workflow.World.
func (w *World) SetField(field string, value any) (bool, error) {
	w.wrote = true
	return true, w.note(true, "set %s to %v", field, value)
}

// ChangeTags implements workflow.World.
func (w *World) ChangeTags(add, remove []string) (bool, error) {
	w.wrote = true
	return true, w.note(true, "tags +%v -%v", add, remove)
}

// AddScore implements workflow.World.
func (w *World) AddScore(points int64, reason string) error {
	w.wrote = true
	return w.note(true, "score %+d because %q", points, reason)
}

// AssignOwner implements workflow.World.
func (w *World) AssignOwner(userID string) (bool, error) {
	w.wrote = true
	return true, w.note(true, "owner %s", userID)
}

// CreateTask implements workflow.World.
func (w *World) CreateTask(t workflow.Task) (string, error) {
	return "task-1", w.note(true, "task %q for %q due %s", t.Title, t.OwnerID, t.Due.Format(time.RFC3339))
}

// Call implements workflow.World.
func (w *World) Call(c workflow.Call) error {
	return w.note(false, "%s %s %s %v", c.Method, c.URL, c.Body, c.Headers)
}

// Send implements workflow.World.
func (w *World) Send(e workflow.Email) error {
	return w.note(false, "mail to %q: %s", e.To, e.Subject)
}

// Sync implements workflow.World.
func (w *World) Sync(connectionID string) error { return w.note(false, "sync %q", connectionID) }

var _ workflow.World = (*World)(nil)
