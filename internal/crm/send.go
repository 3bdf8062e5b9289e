package crm

import (
	"context"

	"leadloom/internal/crm/connector"
	"leadloom/internal/lead"
)

// Verdict is what came of one item: Err nil means the CRM has it.
type Verdict struct {
	Item   Item
	Result connector.Result
	Err    *connector.Error
}

// Send upserts the items through the connector, at most its batch size at a time. A batch that is refused as a whole
// because of a record is halved until the guilty record stands alone, so one poisoned record never holds up the others.
// stop is an error that holds for the whole connection, or a failed call: the items without a verdict then stay dirty.
func Send(ctx context.Context, c connector.Connector, items []Item) (verdicts []Verdict, stop *connector.Error) {
	verdicts, stop, _ = SendFrom(ctx, c, items, nil)
	return verdicts, stop
}

// SendFrom is Send that goes on where an earlier one was stopped in the middle of taking a batch apart: suspects are
// the leads among which the guilty one was, and go first, by themselves. left are those of this sending, for the next:
// where there is time for a few calls only, the search would else start from the whole batch for ever.
func SendFrom(ctx context.Context, c connector.Connector, items []Item, suspects []lead.ID) (verdicts []Verdict, stop *connector.Error, left []lead.ID) {
	s := sender{c: c}
	first, rest := apart(newest(items), suspects)
	size := max(1, c.Info().BatchSize)
	for _, part := range [][]Item{first, rest} {
		for len(part) > 0 {
			n := min(size, len(part))
			got, stop := s.batch(ctx, part[:n])
			verdicts = append(verdicts, got...)
			if stop != nil {
				return verdicts, stop, s.left
			}
			part = part[n:]
		}
	}
	return verdicts, nil, nil
}

// sender sends one round.
type sender struct {
	c    connector.Connector
	left []lead.ID // among these is one that made a whole batch be refused
}

// apart puts the suspects first.
func apart(items []Item, suspects []lead.ID) (first, rest []Item) {
	is := make(map[lead.ID]bool, len(suspects))
	for _, id := range suspects {
		is[id] = true
	}
	for _, it := range items {
		if is[it.Lead.ID] {
			first = append(first, it)
		} else {
			rest = append(rest, it)
		}
	}
	return first, rest
}

// newest keeps one item a lead, the one with the highest version, in the place of the first.
func newest(items []Item) []Item {
	at := make(map[string]int, len(items))
	out := make([]Item, 0, len(items))
	for _, it := range items {
		i, twice := at[it.Record.Key]
		switch {
		case !twice:
			at[it.Record.Key] = len(out)
			out = append(out, it)
		case it.Record.Version > out[i].Record.Version:
			out[i] = it
		}
	}
	return out
}

func (s *sender) batch(ctx context.Context, items []Item) ([]Verdict, *connector.Error) {
	records := make([]connector.Record, len(items))
	for i, it := range items {
		records[i] = it.Record
	}
	results, err := s.c.UpsertBatch(ctx, records)
	whole := connector.AsError(err)
	if whole == nil || whole.Class.StopsConnection() || whole.Class == connector.ClassRetry || len(items) == 1 || len(results) > 0 {
		return judge(items, results, whole)
	}
	half := len(items) / 2
	s.suspect(items)
	left, stop := s.batch(ctx, items[:half])
	if stop != nil {
		return left, stop
	}
	s.suspect(items[half:])
	right, stop := s.batch(ctx, items[half:])
	if stop == nil {
		s.left = nil
	}
	return append(left, right...), stop
}

func (s *sender) suspect(items []Item) {
	s.left = make([]lead.ID, len(items))
	for i, it := range items {
		s.left[i] = it.Lead.ID
	}
}

// judge gives each item its own result by key, whatever the order; an item without one is ambiguous.
func judge(items []Item, results []connector.Result, whole *connector.Error) ([]Verdict, *connector.Error) {
	byKey := make(map[string]connector.Result, len(results))
	for _, r := range results {
		if _, twice := byKey[r.Key]; !twice {
			byKey[r.Key] = r
		}
	}
	var out []Verdict
	var stop *connector.Error
	if whole != nil && (whole.Class.StopsConnection() || whole.Class == connector.ClassRetry) {
		stop = whole
	}
	for _, it := range items {
		r, ok := byKey[it.Record.Key]
		switch {
		case ok && r.Err != nil && r.Err.Class.StopsConnection():
			stop = r.Err
		case ok:
			out = append(out, Verdict{Item: it, Result: r, Err: r.Err})
		case stop != nil:
		case whole != nil:
			out = append(out, Verdict{Item: it, Err: whole})
		default:
			out = append(out, Verdict{Item: it, Err: &connector.Error{Class: connector.ClassAmbiguous, Code: "no_verdict",
				Message: "The CRM's reply does not mention this lead. It is sent again."}})
		}
	}
	return out, stop
}
