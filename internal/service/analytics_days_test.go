package service

import (
	"testing"
	"time"
)

// TestDayStart_IsTheFirstMoment compares with the slow way in zones that change their clocks at midnight, by half an
// hour, or not at all.
func TestDayStart_IsTheFirstMoment(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "Asia/Beirut", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		first := time.Date(2025, 12, 30, 0, 0, 0, 0, time.UTC)
		want, last := map[string]time.Time{}, ""
		for at := first; at.Before(first.AddDate(1, 1, 0)); at = at.Add(15 * time.Minute) {
			if day := at.In(zone).Format(time.DateOnly); day != last {
				if _, seen := want[day]; !seen {
					want[day] = at
				}
				last = day
			}
		}
		now := time.Date(2027, 1, 5, 11, 30, 0, 0, time.UTC)
		for back := range 365 {
			got := dayStart(now, -back, zone)
			day := got.In(zone).Format(time.DateOnly)
			y, m, d := now.In(zone).Date()
			if asked := time.Date(y, m, d-back, 12, 0, 0, 0, time.UTC).Format(time.DateOnly); day != asked || !got.Equal(want[asked]) {
				t.Errorf("%s, %d days back: %v, want the first moment of %s, %v", name, back, got.UTC(), asked, want[asked])
			}
		}
	}
}
