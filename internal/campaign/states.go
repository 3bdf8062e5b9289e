package campaign

import (
	"fmt"
	"slices"
	"strings"

	"leadloom/internal/fault"
)

// State is where a campaign stands.
type State string

// The states. Sent and Cancelled are final.
const (
	Draft     State = "draft"
	Scheduled State = "scheduled"
	Preparing State = "preparing" // the audience is being frozen
	Sending   State = "sending"
	Paused    State = "paused"
	Done      State = "sent"
	Cancelled State = "cancelled"
)

// States in the order of a campaign's life.
var States = []State{Draft, Scheduled, Preparing, Sending, Paused, Done, Cancelled}

// Act is what someone, or the system, does to a campaign.
type Act string

// The acts. Prepared and Finish are the system's.
const (
	Schedule Act = "schedule"
	Start    Act = "start"
	Pause    Act = "pause"
	Resume   Act = "resume"
	Cancel   Act = "cancel"
	Edit     Act = "edit"
	Delete   Act = "delete"
	Prepare  Act = "prepare"
	Prepared Act = "prepared"
	Finish   Act = "finish"
)

// transitions is the whole state machine; an Edit or Delete keeps the state.
var transitions = map[State]map[Act]State{
	Draft:     {Schedule: Scheduled, Start: Preparing, Edit: Draft, Delete: Draft},
	Scheduled: {Schedule: Scheduled, Start: Preparing, Prepare: Preparing, Cancel: Cancelled, Edit: Scheduled},
	Preparing: {Prepared: Sending, Cancel: Cancelled},
	Sending:   {Pause: Paused, Finish: Done, Cancel: Cancelled},
	Paused:    {Resume: Sending, Cancel: Cancelled},
	Done:      {Delete: Done},
	Cancelled: {Delete: Cancelled},
}

// acts a person can ask for, in the order in which they are named.
var acts = []Act{Schedule, Start, Pause, Resume, Cancel, Edit, Delete}

// Next is the state after an act, or the 409 that names the state and what is possible in it.
func Next(s State, a Act) (State, error) {
	if to, ok := transitions[s][a]; ok {
		return to, nil
	}
	var can []string
	for _, x := range acts {
		if _, ok := transitions[s][x]; ok {
			can = append(can, string(x))
		}
	}
	possible := "nothing can be done to it any more"
	if len(can) > 0 {
		possible = "possible now: " + strings.Join(can, ", ")
	}
	e := fault.Conflict("campaign_state", fmt.Sprintf("The campaign is %s; %s is not possible in that state, %s.", s, a, possible))
	e.Extra = map[string]any{"state": s, "possible": can}
	return s, e
}

// Final reports that nothing more will be sent.
func (s State) Final() bool { return s == Done || s == Cancelled }

// ParseState reads a state's name.
func ParseState(s string) (State, bool) {
	st := State(strings.ToLower(s))
	return st, slices.Contains(States, st)
}
