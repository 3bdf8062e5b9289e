package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// AudienceInput is an audience as a caller sends it, key by key.
type AudienceInput struct {
	Recipients                           optional.Optional[[]campaign.Person]
	LeadIDs, Tags, Statuses, ExcludeTags optional.Optional[[]string]
	All                                  optional.Optional[bool]
	Condition                            optional.Optional[json.RawMessage] // {} takes it away
}

func (in AudienceInput) apply(a *campaign.Audience) {
	a.All = in.All.Or(a.All)
	a.Tags, a.Statuses, a.ExcludeTags = in.Tags.Or(a.Tags), in.Statuses.Or(a.Statuses), in.ExcludeTags.Or(a.ExcludeTags)
	if in.Recipients.Has() {
		a.Recipients, a.People = in.Recipients.V, len(in.Recipients.V)
	}
	if in.LeadIDs.Has() {
		a.LeadIDs, a.Leads = in.LeadIDs.V, len(in.LeadIDs.V)
	}
	if in.Condition.Has() {
		if a.Condition = in.Condition.V; string(bytes.TrimSpace(a.Condition)) == "{}" {
			a.Condition = nil
		}
	}
}

// save stores the lists that were sent, in the pieces in which they are prepared.
func (in AudienceInput) save(tx *store.Tx, sc account.Scope, id campaign.ID) error {
	if in.Recipients.Has() {
		if err := store.SaveNamed(tx, sc, id, store.NamedPeople, in.Recipients.V, preparePeople); err != nil {
			return err
		}
	}
	if in.LeadIDs.Has() {
		return store.SaveNamed(tx, sc, id, store.NamedLeads, in.LeadIDs.V, prepareLeads)
	}
	return nil
}

// maxProblems is how many wrong members of one list are named.
const maxProblems = 20

func checkAudience(a *campaign.Audience) []fault.Field {
	var out []fault.Field
	bad := func(path, code, message string) {
		if len(out) < maxProblems {
			out = append(out, fault.Field{Path: "audience" + path, Code: code, Message: message})
		}
	}
	if a.People+a.Leads > campaign.MaxNamed {
		bad("", "too_many", "send at most 50000 recipients and lead ids; use tags, statuses or a condition for more")
	}
	for i, p := range a.Recipients { // what is no address is skipped with its reason later; what can be no text is refused
		for _, f := range []struct {
			key, value string
			most       int
		}{{"email", p.Email, 320}, {"first_name", p.FirstName, 200}, {"last_name", p.LastName, 200}} {
			switch {
			case mail.CheckHeader(f.value) != nil:
				bad(fmt.Sprintf(".recipients[%d].%s", i, f.key), "control_character", "send it without control characters such as CR, LF or NUL")
			case utf8.RuneCountInString(f.value) > f.most:
				bad(fmt.Sprintf(".recipients[%d].%s", i, f.key), "too_long", fmt.Sprintf("send at most %d characters", f.most))
			}
		}
	}
	for _, l := range []struct {
		key  string
		list []string
		most int
	}{{"lead_ids", a.LeadIDs, campaign.MaxNamed}, {"tags", a.Tags, 100}, {"statuses", a.Statuses, 100}, {"exclude_tags", a.ExcludeTags, 100}} {
		if len(l.list) > l.most {
			bad("."+l.key, "too_many", fmt.Sprintf("send at most %d", l.most))
		}
		for i, v := range l.list {
			if len(v) > 256 || v == "" || mail.CheckHeader(v) != nil {
				bad(fmt.Sprintf(".%s[%d]", l.key, i), "invalid", "send a text of 1 to 256 bytes without control characters")
			}
		}
	}
	if len(a.Condition) > 0 {
		_, problems := condition.Parse(a.Condition, "audience.condition", condition.LeadFields)
		out = append(out, problems...)
	}
	return out
}
