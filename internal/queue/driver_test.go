package queue

import (
	"context"
	"slices"
	"testing"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// recording is an executor that notes which jobs it was asked to set.
type recording struct {
	riverdriver.Executor
	asked []int64
}

func (r *recording) JobSetStateIfRunningMany(_ context.Context, p *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	r.asked = append(r.asked, p.ID...)
	rows := make([]*rivertype.JobRow, len(p.ID))
	for i, id := range p.ID {
		rows[i] = &rivertype.JobRow{ID: id, State: p.State[i]}
	}
	return rows, nil
}

// TestExecutor_SetsOnlyWhatIsNotStoredYet: a job that its transaction completed is not set again, unless it ended otherwise
// or brings metadata; one that River repeats is set.
func TestExecutor_SetsOnlyWhatIsNotStoredYet(t *testing.T) {
	done := newFinished()
	below := &recording{}
	e := &executor{Executor: below, done: done}
	for _, id := range []int64{1, 3, 4} {
		done.add(id)
	}
	params := riverdriver.JobSetStateIfRunningManyParams{}
	for id := range int64(4) {
		params.ID = append(params.ID, id+1)
		params.Attempt = append(params.Attempt, nil)
		params.ErrData = append(params.ErrData, nil)
		params.FinalizedAt = append(params.FinalizedAt, nil)
		params.MetadataDoMerge = append(params.MetadataDoMerge, id+1 == 4)
		params.MetadataUpdates = append(params.MetadataUpdates, nil)
		params.ScheduledAt = append(params.ScheduledAt, nil)
		params.State = append(params.State, rivertype.JobStateCompleted)
	}
	params.State[2] = rivertype.JobStateRetryable
	for range 2 {
		rows, err := e.JobSetStateIfRunningMany(t.Context(), &params)
		if err != nil || len(rows) != 4 {
			t.Fatalf("%d rows, %v; River wants one for each job", len(rows), err)
		}
	}
	if want := []int64{2, 3, 4, 1, 2, 3, 4}; !slices.Equal(below.asked, want) {
		t.Errorf("set %v, want %v", below.asked, want)
	}
	if len(done.ids) != 0 {
		t.Errorf("%d jobs are still remembered", len(done.ids))
	}
}
