package httpapi

import (
	"context"
	"encoding/csv"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/service"
)

const tagAnalytics = "Analytics"

// analytics registers the routes of figures.
func (a *API) analytics() {
	get := func(path, id, summary string) Route {
		return Route{Method: "GET", Path: "/api/analytics/" + path, ID: id, Tag: tagAnalytics, Summary: summary, Permission: account.AnalyticsRead,
			Description: "As of the moment of the question: figures of leads are totals kept with each change, the others are counted when asked. Days are whole ones in the tenant's time zone, today's part included; a rate is null when there is nothing to divide by."}
	}
	register(a, get("dashboard", "get-dashboard", "The figures of the first screen"), a.getDashboard)
	register(a, get("leads", "get-lead-figures", "Leads created in the period, by status and source"), a.getLeadFigures)
	register(a, get("workflows", "get-workflow-figures", "Runs started in the period"), a.getWorkflowFigures)
	register(a, get("emails", "get-email-figures", "Messages of the period and what became of them"), a.getEmailFigures)
	register(a, get("roi", "get-roi", "A projection from your own lead value and conversion rate"), a.getROI)
	register(a, get("daily", "get-daily-figures", "One row per day"), a.getDaily)
	export := get("export", "export-figures", "The daily figures as JSON or CSV")
	export.Permission = account.AnalyticsExport
	register(a, export, a.exportFigures)
}

type daysInput struct {
	Days int `query:"days" minimum:"1" maximum:"366" default:"30"`
}

type dashboardOutput struct {
	Body struct {
		TotalLeads        int64    `json:"total_leads"`
		QualificationRate *float64 `json:"qualification_rate"`
		ActiveWorkflows   int64    `json:"active_workflows"`
		Summary           struct {
			Leads     service.LeadFigures     `json:"leads"`
			Workflows service.WorkflowFigures `json:"workflows"`
			Emails    service.EmailFigures    `json:"emails"`
		} `json:"summary"`
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getDashboard(ctx context.Context, sc account.Scope, in *daysInput) (*dashboardOutput, error) {
	d, err := a.Services.Analytics.Dashboard(ctx, sc, in.Days)
	if err != nil {
		return nil, err
	}
	out := &dashboardOutput{}
	b := &out.Body
	b.TotalLeads, b.QualificationRate, b.ActiveWorkflows = d.Leads.Total, d.Leads.QualificationRate, d.Workflows.Active
	b.Summary.Leads, b.Summary.Workflows, b.Summary.Emails = d.Leads, d.Workflows, d.Emails
	b.Period, b.Timestamp = d.Period, a.Now().UTC()
	return out, nil
}

type leadFiguresOutput struct {
	Body struct {
		TotalLeads int64 `json:"total_leads"`
		service.LeadFigures
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getLeadFigures(ctx context.Context, sc account.Scope, in *daysInput) (*leadFiguresOutput, error) {
	f, p, err := a.Services.Analytics.Leads(ctx, sc, in.Days)
	out := &leadFiguresOutput{}
	out.Body.TotalLeads, out.Body.LeadFigures, out.Body.Period, out.Body.Timestamp = f.Total, f, p, a.Now().UTC()
	return out, err
}

type workflowFiguresOutput struct {
	Body struct {
		ActiveWorkflows int64 `json:"active_workflows"`
		service.WorkflowFigures
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getWorkflowFigures(ctx context.Context, sc account.Scope, in *daysInput) (*workflowFiguresOutput, error) {
	f, p, err := a.Services.Analytics.Workflows(ctx, sc, in.Days)
	out := &workflowFiguresOutput{}
	out.Body.ActiveWorkflows, out.Body.WorkflowFigures, out.Body.Period, out.Body.Timestamp = f.Active, f, p, a.Now().UTC()
	return out, err
}

type emailFiguresOutput struct {
	Body struct {
		service.EmailFigures
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getEmailFigures(ctx context.Context, sc account.Scope, in *daysInput) (*emailFiguresOutput, error) {
	f, p, err := a.Services.Analytics.Emails(ctx, sc, in.Days)
	out := &emailFiguresOutput{}
	out.Body.EmailFigures, out.Body.Period, out.Body.Timestamp = f, p, a.Now().UTC()
	return out, err
}

type roiInput struct {
	Days           int    `query:"days" minimum:"1" maximum:"366" default:"30"`
	LeadValue      factor `query:"lead_value" minimum:"0" maximum:"1000000000000" doc:"What a converted lead is worth to you."`
	ConversionRate factor `query:"conversion_rate" minimum:"0" maximum:"1" doc:"0 to 1; absent: the period's own."`
	Cost           factor `query:"cost" minimum:"0" maximum:"1000000000000"`
}

// factor is a number of a query that may be absent: 0 is a value of its own.
type factor struct {
	Value float64
	Set   bool
}

// Schema is a number's.
func (factor) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Format: "double"}
}

// Receiver implements huma.ParamWrapper.
func (f *factor) Receiver() reflect.Value { return reflect.ValueOf(f).Elem().Field(0) }

// OnParamSet implements huma.ParamReactor.
func (f *factor) OnParamSet(set bool, _ any) { f.Set = set }

type roiOutput struct {
	Body struct {
		service.ROI
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getROI(ctx context.Context, sc account.Scope, in *roiInput) (*roiOutput, error) {
	var given [3]*float64
	for i, f := range []struct {
		name string
		factor
	}{{"lead_value", in.LeadValue}, {"conversion_rate", in.ConversionRate}, {"cost", in.Cost}} {
		if math.IsNaN(f.Value) { // the query's bounds let it pass
			return nil, fault.Invalid(f.name, "out_of_range", "send a number")
		}
		if f.Set {
			given[i] = &f.Value
		}
	}
	f, p, err := a.Services.Analytics.ROI(ctx, sc, in.Days, given[0], given[1], given[2])
	out := &roiOutput{}
	out.Body.ROI, out.Body.Period, out.Body.Timestamp = f, p, a.Now().UTC()
	return out, err
}

type dailyOutput struct {
	Body struct {
		Days      []service.Day  `json:"days"`
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) getDaily(ctx context.Context, sc account.Scope, in *daysInput) (*dailyOutput, error) {
	days, p, err := a.Services.Analytics.Daily(ctx, sc, in.Days)
	out := &dailyOutput{}
	out.Body.Days, out.Body.Period, out.Body.Timestamp = days, p, a.Now().UTC()
	return out, err
}

type exportInput struct {
	Days   int    `query:"days" minimum:"1" maximum:"366" default:"30"`
	Format string `query:"format" enum:"json,csv" default:"json"`
}

type exportOutput struct {
	Body struct {
		Format    string         `json:"format"`
		Data      any            `json:"data" doc:"Rows for json; one text for csv."`
		Period    service.Period `json:"period"`
		Timestamp time.Time      `json:"timestamp"`
	}
}

func (a *API) exportFigures(ctx context.Context, sc account.Scope, in *exportInput) (*exportOutput, error) {
	days, p, err := a.Services.Analytics.Daily(ctx, sc, in.Days)
	if err != nil {
		return nil, err
	}
	out := &exportOutput{}
	out.Body.Format, out.Body.Data, out.Body.Period, out.Body.Timestamp = in.Format, days, p, a.Now().UTC()
	if in.Format == "csv" {
		out.Body.Data, err = dailyCSV(days)
	}
	return out, err
}

// dailyCSV writes the same rows, with every text made safe for spreadsheets.
func dailyCSV(days []service.Day) (string, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	rows := [][]string{{"date", "leads_created", "runs_started", "emails_sent", "emails_failed", "emails_skipped", "emails_unknown"}}
	for _, d := range days {
		row := []string{d.Date}
		for _, n := range []int64{d.LeadsCreated, d.RunsStarted, d.EmailsSent, d.EmailsFailed, d.EmailsSkipped, d.EmailsUnknown} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = formulaSafe(cell)
		}
		if err := w.Write(row); err != nil {
			return "", err
		}
	}
	w.Flush()
	return b.String(), w.Error()
}

// formulaSafe keeps a spreadsheet from running a cell that begins like a formula. Plain numbers stay as they are.
func formulaSafe(cell string) string {
	if cell == "" || !strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return cell
	}
	if _, err := strconv.ParseFloat(cell, 64); err == nil {
		return cell
	}
	return "'" + cell
}
