package scale

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
)

// eventsPerLead is how many events each history has.
const eventsPerLead = 10

// world is one tenant: the same seed and size give the same people with the same past.
type world struct {
	seed   uint64
	size   int
	from   time.Time // when the first lead came
	until  time.Time // when nothing has happened yet
	owners []account.Actor
}

// span is how long the tenant has been there.
const span = 3 * 365 * 24 * time.Hour

func newWorld(seed uint64, size int, until time.Time, owners []account.Actor) *world {
	return &world{seed: seed, size: size, from: until.Add(-span), until: until, owners: owners}
}

// act is something that happens to a lead.
type act struct {
	at     time.Time
	by     account.Actor
	change *lead.Input // an update
	points int64       // else points of the score
	text   string      // their reason; or a note, when there are no points
}

// story is one lead from its creation on.
type story struct {
	at   time.Time
	by   account.Actor
	in   *lead.Input
	acts []act
}

var site = account.Actor{Kind: account.ActorKey, ID: "key-site", Name: "Website"}

// story tells of the i-th lead; it depends on nothing but the world and i.
func (w *world) story(i int) *story {
	r := rand.New(rand.NewPCG(w.seed, uint64(i)))
	gap := int64(span/time.Microsecond) / int64(w.size)
	s := &story{at: w.from.Add(time.Duration(int64(i)*gap+r.Int64N(max(gap, 1))) * time.Microsecond), by: site, in: w.input(r, i)}
	owner := skewed(r, w.owners)
	text := optional.Of[string]
	change := func(in lead.Input) act { return act{by: owner, change: &in} }
	score := func() act { return act{by: owner, points: int64(5 * (1 + r.IntN(8))), text: skewed(r, reasons)} }
	note := func() act { return act{by: owner, text: skewed(r, remarks)} }
	// An update is one event, with one more for each change of status, owner or tags.
	switch r.IntN(4) {
	case 0:
		s.acts = []act{change(lead.Input{OwnerID: text(owner.ID)}), score(), note(), change(lead.Input{Status: text(skewed(r, statuses))}), score(), note(), score()}
	case 1:
		s.acts = []act{score(), change(lead.Input{OwnerID: text(owner.ID), Status: text(skewed(r, statuses))}), note(), score(), change(lead.Input{TagsAdd: optional.Of([]string{"follow-up"})}), note()}
	case 2:
		s.acts = []act{change(lead.Input{Language: text("de")}), change(lead.Input{Status: text(skewed(r, statuses))}), score(), score(), note(), note(), score(), note()}
	default:
		s.acts = []act{change(lead.Input{OwnerID: text(owner.ID)}), change(lead.Input{Timezone: text("Europe/Berlin")}), note(), score(), note(), score(), note(), score()}
	}
	at := s.at
	for j := range s.acts {
		later := at.Add(time.Duration(1+r.Int64N(int64(7*24*time.Hour/time.Microsecond))) * time.Microsecond)
		if at = at.Add(w.until.Sub(at) / 2); later.Before(at) { // what is young has had its past in a hurry
			at = later
		}
		s.acts[j].at = at.UTC().Truncate(time.Microsecond)
	}
	s.at = s.at.UTC().Truncate(time.Microsecond)
	return s
}

// input is the i-th lead as a client sends it.
func (w *world) input(r *rand.Rand, i int) *lead.Input {
	sc := pickScript(r)
	given, family := sc.person(r)
	text := optional.Of[string]
	in := &lead.Input{FirstName: text(given.written), LastName: text(family.written)}
	zipf := rand.NewZipf(r, 1.15, 4, uint64(max(w.size/6, 10)))
	firm, domain := company(zipf.Uint64())
	if r.IntN(20) > 2 {
		in.Company = text(firm)
	}
	if r.IntN(3) > 0 {
		domain = skewed(r, freemail)
	}
	if r.IntN(10) > 0 {
		in.Email = text(fmt.Sprintf("%s.%s%s@%s", given.roman, family.roman, strconv.FormatInt(int64(i), 36), domain))
	}
	if r.IntN(10) < 6 {
		n := i
		if i > 20 && r.IntN(30) == 0 {
			n -= 1 + r.IntN(20) // a household, or the same person again: it shares a number
		}
		in.Phone = text(fmt.Sprintf(dialling[n%len(dialling)], n%9_999))
	}
	if r.IntN(12) > 0 {
		in.Source = text(skewed(r, sources))
	}
	if r.IntN(10) < 3 {
		in.ExternalID = text(fmt.Sprintf("crm-%07d", i))
	}
	var tags []string
	for range min(r.IntN(5), 2) {
		if t := fmt.Sprintf("topic %d", zipf.Uint64()%300); !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	if len(tags) > 0 {
		in.Tags = optional.Of(tags)
	}
	employees := []int{3, 8, 14, 40, 95, 210, 600}[r.IntN(7)]
	in.CustomFields = optional.Of(map[string]any{"budget": json.Number(strconv.Itoa(500 * (1 + r.IntN(80)))), "city": skewed(r, sc.places),
		"employees": json.Number(strconv.Itoa(employees)), "interest": []string{"starter", "team", "enterprise"}[min(employees/80, 2)]})
	return in
}

// uuidAt makes a UUIDv7 of a time and a random source, so that ids sort by time as the product's do.
func uuidAt(at time.Time, r *rand.Rand) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16|0x7000|uint64(at.UnixMicro()%1000)<<2)
	binary.BigEndian.PutUint64(b[8:], r.Uint64()>>2|1<<63)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
