package workflow

import (
	"encoding/json"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
)

// Action is one configured node that does something. It is made once per version and shared by all runs.
type Action interface {
	// Do performs a pure step through w, or plans an outside one (w.Call, w.Send, w.Sync) and says so in Result.
	// A fault is the step's failure, and then it has changed nothing; any other error rolls the transaction back and the
	// job is tried again. Two methods are optional: NeedsLead() bool for an action that needs a lead only with some configurations,
	// and Writes() string, the lead's field that it changes.
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
