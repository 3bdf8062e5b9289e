package queue

import (
	"context"
	"errors"
	"testing"
)

// A node that loses its lease ends its running jobs; with a new lease it runs new ones.
func TestLease_ItsLossEndsRunningJobsOnly(t *testing.T) {
	rt := &runtime{}
	alone, release := rt.underLease(t.Context())
	if alone != t.Context() {
		t.Error("without a lease a job's context is changed")
	}
	release()
	rt.loseLease() // nothing to lose
	rt.haveLease()
	first, release := rt.underLease(t.Context())
	defer release()
	rt.haveLease() // renewed
	if first.Err() != nil {
		t.Fatal("a renewal ended a job")
	}
	rt.loseLease()
	<-first.Done()
	if cause := context.Cause(first); !errors.Is(cause, ErrFenced) {
		t.Errorf("ended by %v, want ErrFenced", cause)
	}
	rt.haveLease()
	second, release2 := rt.underLease(t.Context())
	defer release2()
	if second.Err() != nil {
		t.Errorf("a job under the new lease has ended: %v", context.Cause(second))
	}
}
