package store

import (
	"regexp"
	"strings"
)

// dialect holds every difference between the two engines that a query may meet.
type dialect struct {
	name       string
	forUpdate  string // appended to a read that will be followed by a write of the row
	skipLocked string // appended to a claim of several rows
	list       func(param string) string
	leadOf     func(id string) string // joins to a FROM item the lead l of the tenant $1 that it names
	reorders   bool                   // joins to an ordered SELECT may give its rows in another order
}

var sqliteDialect = dialect{
	name: "sqlite",
	list: func(p string) string { return "(SELECT value FROM json_each(" + p + "))" },
	// CROSS JOIN also fixes the order of the loops.
	leadOf: func(string) string { return " CROSS JOIN leads l" },
}

var postgresDialect = dialect{
	name:       "postgres",
	reorders:   true,
	forUpdate:  " FOR UPDATE",
	skipLocked: " FOR UPDATE SKIP LOCKED",
	list:       func(p string) string { return "(SELECT jsonb_array_elements_text(CAST(" + p + " AS jsonb)))" },
	// OFFSET 0 keeps it a look-up by the key: without statistics the planner would rather read all of a tenant's leads
	// once for each that is named.
	leadOf: func(id string) string {
		return " CROSS JOIN LATERAL (SELECT * FROM leads one WHERE one.tenant_id=$1 AND one.id=" + id + " OFFSET 0) l"
	},
}

// list is the set of texts in a JSON array parameter: `id IN `+r.list("$2") with jsonText(ids) as the argument.
func (r *Reader) list(param string) string { return r.s.dialect.list(param) }

// by names the index that a table of a FROM clause must be read by, where SQLite would take another: without
// statistics it holds a tenant to be ten rows, and reads them all rather than look in an index and then in the table.
func (r *Reader) by(index string) string {
	if r.s.pg != nil {
		return ""
	}
	return " INDEXED BY " + index
}

// each is a FROM item with the column "value", one row per text in a JSON array parameter:
// `INSERT INTO t SELECT $1, value FROM `+r.each("$2").
func (r *Reader) each(param string) string {
	if r.s.pg != nil {
		return "jsonb_array_elements_text(CAST(" + param + " AS jsonb)) AS each(value)"
	}
	return "json_each(" + param + ")"
}

// claim is appended to a SELECT that takes rows to work on: other workers skip them.
func (tx *Tx) claim() string { return tx.s.dialect.skipLocked }

var (
	reStrict = regexp.MustCompile(`\)\s*STRICT(\s*,\s*WITHOUT ROWID)?\s*;`)
	reTypes  = regexp.MustCompile(`\b(INTEGER|TEXT|BLOB)\b`)
)

// translate turns the migrations' one text into the engine's: lines that end in "-- sqlite" or "-- postgres" belong
// to that engine alone, and types get their PostgreSQL names.
func (d dialect) translate(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		trimmed := strings.TrimRight(line, " \t\r\n")
		if (d.name == "postgres" && strings.HasSuffix(trimmed, "-- sqlite")) || (d.name == "sqlite" && strings.HasSuffix(trimmed, "-- postgres")) {
			continue
		}
		b.WriteString(line)
	}
	out := b.String()
	if d.name != "postgres" {
		return out
	}
	out = reStrict.ReplaceAllString(out, ");")
	return reTypes.ReplaceAllStringFunc(out, func(t string) string {
		switch t {
		case "INTEGER":
			return "BIGINT"
		case "TEXT":
			return `TEXT COLLATE "C"`
		default:
			return "BYTEA"
		}
	})
}
