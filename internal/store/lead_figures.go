package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/lead"
)

// The figures of leads by the time of their creation are totals kept with each change, so that a dashboard costs the
// same however many leads there are. A lead counts in its quarter of an hour, of which every zone's days are made, and
// in its UTC day, which a long period is read by. Names hold times with ten digits, so that they are in order:
//
//	born:<quarter>             live leads created then
//	bornq:<quarter>:<figure>   of those: status:<status>, source:<source>, score (a sum), stage:<stage>
//	bornd:<day>:<figure>       the same by day
const (
	bornAt       = "born:"
	bornQuarter  = "bornq:"
	bornDay      = "bornd:"
	timeOffset   = 1_000_000_000
	dayQuarters  = 96
	figureColumn = "SUBSTR(counter, 18)" // what follows "bornq:" and ten digits and ":"
)

// The furthest that a lead has ever come; each includes the one before. lead_stages has a row from the first on.
const (
	StageNone      = 0
	StageQualified = 1
	StageConverted = 2
)

func stageOf(status string) int64 {
	switch status {
	case "qualified":
		return StageQualified
	case "converted":
		return StageConverted
	}
	return StageNone
}

func timeName(n int64) string { return strconv.FormatInt(timeOffset+n, 10) }

func quarterOf(at time.Time) int64 { return micros(at) / QuarterMicros }

// countBorn changes one figure of the leads created at that time.
func (tx *Tx) countBorn(sc account.Scope, created time.Time, figure string, delta int64) {
	if delta != 0 {
		q := quarterOf(created)
		tx.AddCount(sc, bornQuarter+timeName(q)+":"+figure, delta)
		tx.AddCount(sc, bornDay+timeName(q/dayQuarters)+":"+figure, delta)
	}
}

func (tx *Tx) countStage(sc account.Scope, created time.Time, stage, delta int64) {
	if stage > StageNone {
		tx.countBorn(sc, created, "stage:"+strconv.FormatInt(stage, 10), delta)
	}
}

// The prefixes of the maintained totals of live leads by what lists are filtered by, as the filters compare it. Those
// without a source or an owner have none.
const (
	countStatus = "status:"
	countSource = "source:"
	countOwner  = "owner:"
)

// countHas changes the totals of the lists that a lead is in by its state, source and owner.
func (tx *Tx) countHas(sc account.Scope, l *lead.Lead, sign int64) {
	tx.AddCount(sc, countStatus+l.Status, sign)
	if source := lead.Fold(l.Source); source != "" {
		tx.AddCount(sc, countSource+source, sign)
	}
	if l.OwnerID != "" {
		tx.AddCount(sc, countOwner+l.OwnerID, sign)
	}
}

// countLead adds a lead of a stage to the figures, or takes it out with sign -1.
func (tx *Tx) countLead(sc account.Scope, l *lead.Lead, stage, sign int64) {
	tx.AddCount(sc, CountLeads, sign)
	tx.countHas(sc, l, sign)
	tx.AddCount(sc, bornAt+timeName(quarterOf(l.CreatedAt)), sign)
	tx.countBorn(sc, l.CreatedAt, "status:"+l.Status, sign)
	tx.countBorn(sc, l.CreatedAt, "source:"+l.Source, sign)
	tx.countBorn(sc, l.CreatedAt, "score", sign*l.Score)
	tx.countStage(sc, l.CreatedAt, stage, sign)
}

// recountLead carries a live lead's change into the figures.
func (tx *Tx) recountLead(sc account.Scope, before, after *lead.Lead) error {
	if before.Status != after.Status || before.Source != after.Source || before.OwnerID != after.OwnerID {
		tx.countHas(sc, before, -1)
		tx.countHas(sc, after, 1)
	}
	tx.countBorn(sc, after.CreatedAt, "score", after.Score-before.Score)
	if before.Source != after.Source {
		tx.countBorn(sc, after.CreatedAt, "source:"+before.Source, -1)
		tx.countBorn(sc, after.CreatedAt, "source:"+after.Source, 1)
	}
	if before.Status == after.Status {
		return nil
	}
	tx.countBorn(sc, after.CreatedAt, "status:"+before.Status, -1)
	tx.countBorn(sc, after.CreatedAt, "status:"+after.Status, 1)
	now := stageOf(after.Status)
	if now == StageNone {
		return nil
	}
	was, err := tx.leadStage(sc, after.ID)
	if err != nil || was >= now {
		return err
	}
	tx.countStage(sc, after.CreatedAt, was, -1)
	tx.countStage(sc, after.CreatedAt, now, 1)
	return tx.saveStage(sc, after.ID, now)
}

func (tx *Tx) saveStage(sc account.Scope, id lead.ID, stage int64) error {
	if stage == StageNone {
		return nil
	}
	if _, err := tx.exec(`INSERT INTO lead_stages (tenant_id, lead_id, stage) VALUES ($1,$2,$3) ON CONFLICT (tenant_id, lead_id) DO UPDATE SET stage=excluded.stage`,
		string(sc.Tenant()), string(id), stage); err != nil {
		return fmt.Errorf("stage of lead: %w", err)
	}
	return nil
}

// leadStage is how far a lead has ever come. Index: the key.
func (r *Reader) leadStage(sc account.Scope, id lead.ID) (int64, error) {
	stage, err := queryOne(r, scanInt, "SELECT stage FROM lead_stages WHERE tenant_id=$1 AND lead_id=$2", string(sc.Tenant()), string(id))
	if err == ErrNotFound {
		return StageNone, nil
	}
	return stage, err
}

// stagesReached are how far the leads of a past have ever come.
func stagesReached(leads []*lead.Lead, events []event.Event) map[lead.ID]int64 {
	out := map[lead.ID]int64{}
	reached := func(id lead.ID, status any) {
		if s, ok := status.(string); ok && stageOf(s) > out[id] {
			out[id] = stageOf(s)
		}
	}
	for _, l := range leads {
		reached(l.ID, l.Status)
	}
	for i := range events {
		if e := &events[i]; e.Type == event.LeadStatusChanged {
			reached(lead.ID(e.LeadID), e.Changes["status"].From)
			reached(lead.ID(e.LeadID), e.Changes["status"].To)
		}
	}
	return out
}

// The two ranges of names that a period is read by: quarters up to the first whole UTC day, then days.
const (
	sqlFiguresOfPeriod = `(SELECT ` + figureColumn + ` AS name, n FROM tenant_counters WHERE tenant_id=$1 AND counter>=$2 AND counter<$3
		UNION ALL SELECT ` + figureColumn + `, n FROM tenant_counters WHERE tenant_id=$1 AND counter>=$4 AND counter<$5) AS both_parts`
	sqlLeadFigures = `SELECT name, CAST(SUM(n) AS BIGINT) FROM ` + sqlFiguresOfPeriod + ` WHERE name NOT LIKE 'source:%' GROUP BY name HAVING SUM(n)<>0 ORDER BY name`
	sqlLeadSources = `SELECT SUBSTR(name, 8), CAST(SUM(n) AS BIGINT) FROM ` + sqlFiguresOfPeriod + ` WHERE name LIKE 'source:%' GROUP BY name HAVING SUM(n)<>0 ORDER BY SUM(n) DESC, name LIMIT 50`
	sqlLeadBuckets = `SELECT CAST(SUBSTR(counter, 6) AS BIGINT) - 1000000000, '', CAST(SUM(n) AS BIGINT) FROM tenant_counters WHERE tenant_id=$1 AND counter>=$2 AND counter<$3 GROUP BY counter HAVING SUM(n)<>0`
)

// figureRanges are the arguments of sqlFiguresOfPeriod. from must be the beginning of a quarter; the day of to counts
// whole, because what is created later than now is not there.
func figureRanges(sc account.Scope, from, to time.Time) []any {
	first, last := quarterOf(from), quarterOf(to)/dayQuarters
	whole := (first + dayQuarters - 1) / dayQuarters
	return []any{string(sc.Tenant()), bornQuarter + timeName(first), bornQuarter + timeName(whole*dayQuarters), bornDay + timeName(whole), bornDay + timeName(last+1)}
}

// LeadFigures are those of the live leads created from a time, which begins a quarter of an hour, up to now: by status
// now, how many have ever been qualified or converted, and the sum of their scores.
type LeadFigures struct {
	States               []Named
	Created, Score       int64
	Qualified, Converted int64 // ever; who has converted was qualified
}

// LeadFigures reads kept totals. Index: tenant_counters' key.
func (r *Reader) LeadFigures(sc account.Scope, from, to time.Time) (f LeadFigures, err error) {
	rows, err := queryAll(r, scanNamed, sqlLeadFigures, figureRanges(sc, from, to)...)
	for _, row := range rows {
		if status, ok := strings.CutPrefix(row.Name, "status:"); ok {
			f.States = append(f.States, Named{status, row.N})
			f.Created += row.N
			continue
		}
		switch row.Name {
		case "score":
			f.Score = row.N
		case "stage:1":
			f.Qualified += row.N
		case "stage:2":
			f.Qualified += row.N
			f.Converted = row.N
		}
	}
	return f, err
}

// LeadSources counts the same leads by source, at most 50.
func (r *Reader) LeadSources(sc account.Scope, from, to time.Time) ([]Named, error) {
	return queryAll(r, scanNamed, sqlLeadSources, figureRanges(sc, from, to)...)
}

// LeadBuckets counts live leads by when they were created, in [from, to); a quarter that to falls into counts whole.
func (r *Reader) LeadBuckets(sc account.Scope, from, to time.Time) ([]Bucket, error) {
	return queryAll(r, scanBucket, sqlLeadBuckets, string(sc.Tenant()), bornAt+timeName(quarterOf(from)), bornAt+timeName(quarterOf(to)+1))
}

// figuresOfRows are the figures as the leads' rows give them, for check: a quarter, the figure and a number to be summed.
const figuresOfRows = `(SELECT tenant_id, created_at / 900000000 AS q, 'status:' || status AS figure, 1 AS n FROM leads WHERE deleted_at=0
	UNION ALL SELECT tenant_id, created_at / 900000000, 'source:' || source, 1 FROM leads WHERE deleted_at=0
	UNION ALL SELECT tenant_id, created_at / 900000000, 'score', score FROM leads WHERE deleted_at=0 AND score<>0
	UNION ALL SELECT l.tenant_id, l.created_at / 900000000, 'stage:' || s.stage, 1 FROM lead_stages s JOIN leads l ON l.tenant_id=s.tenant_id AND l.id=s.lead_id WHERE l.deleted_at=0) AS figures`

const checkFigures = `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
	SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'born%'
	UNION ALL SELECT tenant_id, 'born:' || (1000000000 + created_at / 900000000), 0, COUNT(*) FROM leads WHERE deleted_at=0 GROUP BY tenant_id, created_at / 900000000
	UNION ALL SELECT tenant_id, 'bornq:' || (1000000000 + q) || ':' || figure, 0, SUM(n) FROM ` + figuresOfRows + ` GROUP BY tenant_id, q, figure
	UNION ALL SELECT tenant_id, 'bornd:' || (1000000000 + q / 96) || ':' || figure, 0, SUM(n) FROM ` + figuresOfRows + ` GROUP BY tenant_id, q / 96, figure
	) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`

// checkStages finds leads whose state, or an event of whose state, is further than what is noted.
const checkStages = `SELECT r.tenant_id, r.lead_id, 'has reached stage ' || MAX(r.stage) || ', noted is ' || COALESCE(MAX(s.stage),0) FROM (
	SELECT tenant_id, id AS lead_id, CASE status WHEN 'converted' THEN 2 ELSE 1 END AS stage FROM leads WHERE status IN ('qualified', 'converted')
	UNION ALL SELECT tenant_id, lead_id, CASE WHEN changes LIKE '%:"converted"%' THEN 2 ELSE 1 END FROM events
		WHERE type='lead.status_changed' AND (changes LIKE '%:"qualified"%' OR changes LIKE '%:"converted"%')) AS r
	LEFT JOIN lead_stages s ON s.tenant_id=r.tenant_id AND s.lead_id=r.lead_id GROUP BY r.tenant_id, r.lead_id HAVING MAX(r.stage) > COALESCE(MAX(s.stage),0)`
