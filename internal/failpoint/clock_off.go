//go:build !failpoint

package failpoint

import "time"

// Shifts says whether the clock can be moved in this build.
const Shifts = false

// Now is the time.
func Now() time.Time { return time.Now() }

// Shorten gives a bound as it is.
func Shorten(d time.Duration) time.Duration { return d }
