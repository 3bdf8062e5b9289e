package app

import (
	"reflect"
	"strings"
	"testing"
)

func TestCleanMappings_OnlyWhatNobodyHasWritten(t *testing.T) {
	const smaps = `00400000-01704000 r-xp 00000000 fe:00 9978621                            /bin/leadloom
Rss:               17296 kB
Anonymous:             0 kB
01704000-037cb000 r--p 01304000 fe:00 9978621                            /bin/leadloom
Anonymous:            12 kB
037cb000-0392d000 rw-p 033cb000 fe:00 9978621                            /bin/leadloom
Anonymous:             0 kB
0392d000-03a2d000 r--p 00000000 fe:00 9978622                            /bin/other
Anonymous:             0 kB
`
	if got, want := cleanMappings(strings.NewReader(smaps), "/bin/leadloom"), []mapping{{0x400000, 0x1704000}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%x, want %x: a page that was written must never be dropped", got, want)
	}
}
