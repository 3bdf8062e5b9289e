//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Shifts says whether the clock can be moved in this build.
const Shifts = true

// ClockVariable names a file that holds how far the clock is wrong ("-24h"); it is read again all the time.
const ClockVariable = "LEADLOOM_TEST_CLOCK"

var clock struct {
	sync.Mutex
	read  time.Time
	shift time.Duration
}

// Now is the time, as wrong as the test says.
func Now() time.Time {
	now := time.Now()
	path := os.Getenv(ClockVariable)
	if path == "" {
		return now
	}
	clock.Lock()
	defer clock.Unlock()
	if now.Sub(clock.read) > 5*time.Millisecond {
		clock.read = now
		if b, err := os.ReadFile(path); err == nil {
			if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
				clock.shift = d
			}
		}
	}
	return now.Add(clock.shift).Round(0) // without the monotonic reading: a clock that jumps is what is tested
}

// ShortenVariable says by how much bounds of half an hour and more are shortened that a test waits for ("1800").
const ShortenVariable = "LEADLOOM_TEST_SHORTEN"

// Shorten gives a bound, as much shorter as the test says.
func Shorten(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv(ShortenVariable)); err == nil && n > 0 {
		return d / time.Duration(n)
	}
	return d
}
