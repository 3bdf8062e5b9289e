package simulator

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

const style = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2330}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #dde3ea}th{color:#51606f;font-weight:600}a{color:#0b5fa5}small{color:#51606f}`

var listPage = template.Must(template.New("list").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>CRM simulator</title><style>{{.Style}}</style><h1>{{.Account}}</h1>
<p>A stand-in for a CRM. It holds {{.Total}} records; the {{len .Records}} that changed last are shown.</p>
<table><thead><tr><th>Record</th><th>Lead</th><th>Name</th><th>E-mail</th><th>Company</th><th>Status</th><th>Score</th><th>Changed</th></tr></thead><tbody>
{{range .Records}}<tr><td><a href="/records/{{.ID}}">{{.ID}}</a></td><td>{{.Key}}</td><td>{{index .Fields "first_name"}} {{index .Fields "last_name"}}</td><td>{{index .Fields "email"}}</td>
<td>{{index .Fields "company"}}</td><td>{{index .Fields "status"}}</td><td>{{index .Fields "score"}}</td><td>{{.UpdatedAt.Format "2006-01-02 15:04:05"}}</td></tr>
{{else}}<tr><td colspan="8">Nothing has arrived yet.</td></tr>{{end}}</tbody></table></html>`))

var onePage = template.Must(template.New("one").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.ID}}</title><style>{{.Style}}</style><p><a href="/">All records</a></p><h1>{{.ID}}{{if .Deleted}} (deleted){{end}}</h1>
<p>Lead <b>{{.Key}}</b>, written {{.Writes}} times, last by {{.Writer}}, {{.UpdatedAt.Format "2006-01-02 15:04:05"}} UTC.</p>
<table><tbody>{{range .Rows}}<tr><th>{{.Name}}</th><td>{{.Value}}</td></tr>{{end}}</tbody></table></html>`))

const shown = 200

// page lists the records that changed last.
func (s *Simulator) page(w http.ResponseWriter, _ *http.Request) {
	all := s.Records()
	live := slices.DeleteFunc(all, func(r Record) bool { return r.Deleted })
	slices.SortFunc(live, func(a, b Record) int { return int(b.Seq - a.Seq) })
	total := len(live)
	if len(live) > shown {
		live = live[:shown]
	}
	for i := range live {
		live[i].Fields = readable(live[i].Fields)
	}
	render(w, listPage, map[string]any{"Style": template.CSS(style), "Account": s.opts.Account, "Total": total, "Records": live})
}

// recordPage shows one record: the link of a lead leads here.
func (s *Simulator) recordPage(w http.ResponseWriter, r *http.Request) {
	all := s.Records()
	i := slices.IndexFunc(all, func(rec Record) bool { return rec.ID == r.PathValue("id") })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	type row struct{ Name, Value string }
	rec, rows := all[i], []row{}
	for name, v := range readable(rec.Fields) {
		rows = append(rows, row{name, fmt.Sprint(v)})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	render(w, onePage, struct {
		Record
		Style template.CSS
		Rows  []row
	}{rec, template.CSS(style), rows})
}

// readable turns lists and objects into texts and fills what the table looks up.
func readable(in map[string]any) map[string]any {
	out := map[string]any{"first_name": "", "last_name": "", "email": "", "company": "", "status": "", "score": ""}
	for k, v := range in {
		switch v.(type) {
		case []any, map[string]any:
			b, _ := json.Marshal(v)
			out[k] = string(b)
		default:
			out[k] = v
		}
	}
	return out
}

func render(w http.ResponseWriter, t *template.Template, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	_ = t.Execute(w, data)
}
