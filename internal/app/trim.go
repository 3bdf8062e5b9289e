package app

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	firstTrim = 2 * time.Second // after the start
	trimEvery = time.Minute
)

// trimWhileIdle gives memory back that only the start, or a load that is over, has needed: once soon after the start,
// then whenever a minute without a request follows one with some. requests counts those since the start.
func trimWhileIdle(ctx context.Context, requests func() int64) {
	trimmed, last := int64(-1), int64(-1)
	t := time.NewTimer(firstTrim)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n := requests()
		if trimmed < 0 || n == last && n != trimmed {
			debug.FreeOSMemory()
			releaseOwnPages()
			trimmed = n
		}
		last = n
		t.Reset(trimEvery)
	}
}
