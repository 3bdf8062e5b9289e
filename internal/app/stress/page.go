package stress

import (
	"html/template"
	"io"
)

// WriteHTML prints one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": ms, "columns": columns, "reasons": (*Report).reasons, "title": (*Report).title, "rates": (*Report).rates, "process": (*Report).process,
	"curves": curves, "overTime": overTime,
	"width": func(b []Bar) int { return len(b)*24 + 40 },
}).Parse(pageText))

// pageText is the report as one page: no script, nothing loaded from anywhere.
const pageText = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leadloom stress report</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:right}
td:first-child,th:first-child{text-align:left}tr.sum td{font-weight:600;border-top:2px solid #57606a}
.bad{color:#b3261e;font-weight:600}svg{max-width:100%;height:auto}rect{fill:#2f6f6a}text{font-size:11px;fill:#57606a}
.a{stroke:#2f6f6a}.b{stroke:#b35c00}.c{stroke:#8a63d2}.grid{stroke:#d8dee4}.mark{stroke:#57606a;stroke-dasharray:4 3}polyline,line{fill:none;stroke-width:1.5}
.ka{color:#2f6f6a}.kb{color:#b35c00}.kc{color:#8a63d2}
@media(prefers-color-scheme:dark){body{background:#14181c;color:#e6e9ec}td,th,.grid{border-color:#333a41;stroke:#333a41}text{fill:#9aa4ae}rect{fill:#58b5ac}.a{stroke:#58b5ac}.ka{color:#58b5ac}}
</style></head><body>
<h1>Stress profile</h1>
<p>{{title .}}, started {{.StartedAt.Format "2006-01-02 15:04:05"}} UTC.</p>
<p{{if .Failures}} class="bad"{{end}}>{{rates .}}</p>
{{with process .}}<p>{{.}}</p>{{end}}
<h2>Endpoints</h2>
<p>Service time runs from sending to the last byte; response time from when the request was meant to begin, and counts those that could not begin because an earlier one was waited for.</p>
<table><thead><tr><th>endpoint</th><th>count</th><th>failed</th><th>mean ms</th><th>p50</th><th>p95</th><th>p99</th><th>max</th><th>response p99</th></tr></thead><tbody>
{{define "row"}}<td>{{.Endpoint}}</td><td>{{.Count}}</td><td{{if .Failures}} class="bad"{{end}}>{{.Failures}}</td><td>{{ms .Mean}}</td><td>{{ms .P50}}</td><td>{{ms .P95}}</td><td>{{ms .P99}}</td><td>{{ms .Max}}</td><td>{{ms .Response.P99}}</td>{{end}}
{{range .Endpoints}}<tr>{{template "row" .}}</tr>
{{end}}<tr class="sum">{{template "row" .All}}</tr><tr class="sum">{{template "row" .Arriving}}</tr><tr class="sum">{{template "row" .Login}}</tr></tbody></table>
{{range reasons .}}<p class="bad">{{.}}</p>{{end}}
{{define "plot"}}{{if .}}<svg viewBox="0 0 760 240" width="760" role="img" aria-label="{{.Title}}">
{{range .Grid}}<line class="grid" x1="{{.X1}}" y1="{{.Y1}}" x2="{{.X2}}" y2="{{.Y2}}"/><text x="{{.TX}}" y="{{.TY}}">{{.Label}}</text>
{{end}}{{if .Mark}}<line class="mark" x1="{{.Mark}}" y1="10" x2="{{.Mark}}" y2="210"/>{{end}}
{{range .Lines}}<polyline class="{{.Class}}" points="{{.Points}}"><title>{{.Name}}</title></polyline>
{{end}}</svg>{{end}}{{end}}
<h2>Latency by share of requests, ms</h2><p><b class="ka">service time</b> · <b class="kb">response time</b></p>{{template "plot" curves .}}
<h2>Response time over time, ms</h2><p><b class="ka">p50</b> · <b class="kb">p99</b> · <b class="kc">max</b>; the dashed line is where full load begins</p>{{template "plot" overTime .}}
{{define "bars"}}<svg viewBox="0 0 {{width .}} 190" width="{{width .}}" role="img" aria-label="latency histogram">{{range columns .}}
<rect x="{{.X}}" y="{{.Y}}" width="20" height="{{.Height}}"><title>{{.Tip}}</title></rect>{{if .Label}}<text x="{{.X}}" y="178">{{.Label}}</text>{{end}}{{end}}</svg>{{end}}
<h2>Service time of all but logins, ms (each column a quarter of a doubling)</h2>{{template "bars" .Histogram}}
<h2>Logins, ms</h2>{{template "bars" .LoginBars}}
</body></html>
`
