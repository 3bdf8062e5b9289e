package scale

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"slices"
)

// page is the report for a browser: one plot for each kind of request, size against milliseconds, both logarithmic. It
// needs nothing from elsewhere.
func page(all []*point) []byte {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, map[string]any{"Points": all, "Plots": plots(all)}); err != nil {
		panic(err) // the template of this file is wrong
	}
	return b.Bytes()
}

type plot struct {
	Name   string
	Lines  []line
	Limit  float64 // y of the limit; 0 without
	X, Y   []tick
	Values []string
}

type line struct{ Class, Points string }

type tick struct {
	At    float64
	Label string
}

const (
	plotWidth, plotHeight, margin = 260.0, 150.0, 34.0
	lowest, highest               = 0.1, 1000.0 // ms
)

func plots(all []*point) (out []plot) {
	if len(all) == 0 {
		return nil
	}
	least, most := math.Inf(1), 0.0
	for _, p := range all {
		least, most = min(least, float64(p.Leads)), max(most, float64(p.Leads))
	}
	x := func(n float64) float64 {
		if most == least {
			return margin + plotWidth/2
		}
		return margin + plotWidth*math.Log(n/least)/math.Log(most/least)
	}
	y := func(ms float64) float64 {
		return 8 + plotHeight*(1-math.Log(min(max(ms, lowest), highest)/lowest)/math.Log(highest/lowest))
	}
	for _, l := range all[0].ordered {
		p := plot{Name: l.name}
		for ms := lowest; ms <= highest; ms *= 10 {
			p.Y = append(p.Y, tick{y(ms), fmt.Sprint(math.Round(ms*10) / 10)})
		}
		if l.within > 0 {
			p.Limit = y(l.within)
		}
		points := map[string]string{}
		for _, at := range all {
			f := at.Legs[l.name]
			n := float64(at.Leads)
			points[at.Engine+" p50"] += fmt.Sprintf("%.1f,%.1f ", x(n), y(f.P50))
			points[at.Engine+" p99"] += fmt.Sprintf("%.1f,%.1f ", x(n), y(f.P99))
			p.Values = append(p.Values, fmt.Sprintf("%s %s: p50 %.1f, p99 %.1f ms, %.2f ms CPU", at.Engine, short(at.Leads), f.P50, f.P99, f.CPU))
			if t := (tick{x(n), short(at.Leads)}); !slices.Contains(p.X, t) {
				p.X = append(p.X, t)
			}
		}
		for _, class := range []string{"sqlite p50", "sqlite p99", "postgres p50", "postgres p99"} {
			if points[class] != "" {
				p.Lines = append(p.Lines, line{class, points[class]})
			}
		}
		out = append(out, p)
	}
	return out
}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"short": short, "mb": func(n int64) int64 { return n >> 20 }}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Leadloom: figures against size</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2733;background:#fff}
table{border-collapse:collapse}th,td{text-align:right;padding:.2rem .8rem;border-bottom:1px solid #dde3ea}th:first-child,td:first-child{text-align:left}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:1rem}figure{margin:0}figcaption{font-weight:600}
svg{width:100%;height:auto}text{font-size:9px;fill:#5a6877}.grid{stroke:#e6ebf0}.limit{stroke:#b3261e;stroke-dasharray:3 3}
polyline{fill:none;stroke-width:2}.sqlite{stroke:#0b6bcb}.postgres{stroke:#2e7d32}.p99{stroke-dasharray:5 3}
details{font-size:13px;color:#5a6877}.key span{margin-right:1.2rem}
</style>
<h1>Figures against size</h1>
<p class="key"><span style="color:#0b6bcb">SQLite</span><span style="color:#2e7d32">PostgreSQL</span><span>solid: p50, dashed: p99, at 20 connections</span><span style="color:#b3261e">red: the limit at a million leads</span></p>
<table><tr><th>engine<th>leads<th>made in s<th>start ms<th>idle MB (own + mapped)<th>after load MB<th>database MB<th>check s<th>backup s</tr>
{{range .Points}}<tr><td>{{.Engine}}<td>{{short .Leads}}<td>{{printf "%.0f" .Made}}<td>{{printf "%.0f" .Start}}<td>{{printf "%.0f + %.0f" .Idle.Own .Idle.Shared}}<td>{{printf "%.0f + %.0f" .After.Own .After.Shared}}<td>{{mb .Bytes}}<td>{{printf "%.1f" .Check}}<td>{{printf "%.1f" .Backup}}</tr>
{{end}}</table>
<div class="plots">{{range .Plots}}<figure><figcaption>{{.Name}}</figcaption>
<svg viewBox="0 0 310 180" role="img" aria-label="{{.Name}}: milliseconds against leads">
{{range .Y}}<line class="grid" x1="34" x2="294" y1="{{.At}}" y2="{{.At}}"/><text x="30" y="{{.At}}" dy="3" text-anchor="end">{{.Label}}</text>{{end}}
{{range .X}}<text x="{{.At}}" y="172" text-anchor="middle">{{.Label}}</text>{{end}}
{{if .Limit}}<line class="limit" x1="34" x2="294" y1="{{.Limit}}" y2="{{.Limit}}"/>{{end}}
{{range .Lines}}<polyline class="{{.Class}}" points="{{.Points}}"/>{{end}}</svg>
<details><summary>figures</summary>{{range .Values}}{{.}}<br>{{end}}</details></figure>
{{end}}</div></html>
`))
