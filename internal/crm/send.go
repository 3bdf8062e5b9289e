package crm

import (
	"context"

	"leadloom/internal/crm/connector"
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
	size := max(1, c.Info().BatchSize)
	items = newest(items)
	for len(items) > 0 {
		n := min(size, len(items))
		var got []Verdict
		got, stop = sendBatch(ctx, c, items[:n])
		verdicts = append(verdicts, got...)
		if stop != nil {
			return verdicts, stop
		}
		items = items[n:]
	}
	return verdicts, nil
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

func sendBatch(ctx context.Context, c connector.Connector, items []Item) ([]Verdict, *connector.Error) {
	records := make([]connector.Record, len(items))
	for i, it := range items {
		records[i] = it.Record
	}
	results, err := c.UpsertBatch(ctx, records)
	whole := connector.AsError(err)
	if whole != nil && !whole.Class.StopsConnection() && whole.Class != connector.ClassRetry && len(items) > 1 && len(results) == 0 {
		half := len(items) / 2
		left, stop := sendBatch(ctx, c, items[:half])
		if stop != nil {
			return left, stop
		}
		right, stop := sendBatch(ctx, c, items[half:])
		return append(left, right...), stop
	}
	return judge(items, results, whole)
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
