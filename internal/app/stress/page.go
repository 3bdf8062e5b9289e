package stress

// pageText is the report as one page: no script, nothing loaded from anywhere.
const pageText = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leadloom stress report</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:right}
td:first-child,th:first-child{text-align:left}tr.sum td{font-weight:600;border-top:2px solid #57606a}
.bad{color:#b3261e;font-weight:600}svg{max-width:100%;height:auto}rect{fill:#2f6f6a}text{font-size:11px;fill:#57606a}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:#57606a}dd{margin:0}
@media(prefers-color-scheme:dark){body{background:#14181c;color:#e6e9ec}td,th{border-color:#333a41}text,dt{fill:#9aa4ae;color:#9aa4ae}rect{fill:#58b5ac}}
</style></head><body>
<h1>Stress profile, {{.Users}} users</h1>
<dl><dt>Server</dt><dd>{{.URL}}</dd><dt>Started</dt><dd>{{.StartedAt.Format "2006-01-02 15:04:05"}} UTC, {{.Took}}</dd>
<dt>Rate</dt><dd>{{printf "%.1f" .Rate}} requests/s, {{share .}} % of the {{printf "%.1f" .Ceiling}} that the users' pauses allow</dd>
<dt>Failures</dt><dd{{if .Failures}} class="bad"{{end}}>{{.Failures}}</dd><dt>Seed</dt><dd>{{.Seed}}</dd></dl>
<h2>Endpoints</h2>
<table><thead><tr><th>endpoint</th><th>count</th><th>failed</th><th>mean ms</th><th>p50</th><th>p95</th><th>p99</th><th>max</th></tr></thead><tbody>
{{define "row"}}<td>{{.Endpoint}}</td><td>{{.Count}}</td><td{{if .Failures}} class="bad"{{end}}>{{.Failures}}</td><td>{{ms .Mean}}</td><td>{{ms .P50}}</td><td>{{ms .P95}}</td><td>{{ms .P99}}</td><td>{{ms .Max}}</td>{{end}}
{{range .Endpoints}}<tr>{{template "row" .}}</tr>
{{end}}<tr class="sum">{{template "row" .All}}</tr><tr class="sum">{{template "row" .Login}}</tr></tbody></table>
{{range .Endpoints}}{{$e := .Endpoint}}{{range reasons .Reasons}}<p class="bad">{{$e}}: {{.}}</p>{{end}}{{end}}{{range reasons .Login.Reasons}}<p class="bad">login: {{.}}</p>{{end}}
{{define "bars"}}<svg viewBox="0 0 {{width .}} 190" width="{{width .}}" role="img" aria-label="latency histogram">{{range columns .}}
<rect x="{{.X}}" y="{{.Y}}" width="20" height="{{.Height}}"><title>{{.Tip}}</title></rect>{{if .Label}}<text x="{{.X}}" y="178">{{.Label}}</text>{{end}}{{end}}</svg>{{end}}
<h2>Latency of all but logins, ms (each column a quarter of a doubling)</h2>{{template "bars" .Histogram}}
<h2>Latency of logins, ms</h2>{{template "bars" .LoginBars}}
</body></html>
`
