package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/service"
)

// bulkTimeout is for requests that work through many leads, transaction by transaction.
const bulkTimeout = time.Minute

// leadBulk registers the routes on many leads at once.
func (a *API) leadBulk() {
	register(a, Route{Method: "POST", Path: "/api/leads/bulk", ID: "bulk-leads", Tag: tagLeads, Summary: "Create or update many leads; each row is decided alone",
		Description: "Up to 1,000 rows are written before the reply. More become a job: follow status_url.", Permission: account.LeadCreate, MaxBody: 64 << 20, OwnChecks: true, Timeout: bulkTimeout}, a.bulkLeads)
	register(a, Route{Method: "GET", Path: "/api/bulks/{id}", ID: "get-bulk", Tag: tagLeads, Summary: "Progress and results of a bulk that became a job",
		Permission: account.LeadCreate}, a.getBulk)
	register(a, Route{Method: "POST", Path: "/api/leads/deduplicate", ID: "deduplicate-leads", Tag: tagLeads, Summary: "Find exact duplicates, and merge them when dry_run is false",
		Description: "Without leads the stored ones are looked at; with leads only those of the body, and nothing is stored.", Permission: account.LeadUpdate, MaxBody: 64 << 20, Timeout: bulkTimeout}, a.deduplicate)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/merge", ID: "merge-leads", Tag: tagLeads, Summary: "Merge leads into this one",
		Description: "This lead stays; empty fields are filled from the others, tags unite, notes, tasks and score rows move, and the others' ids lead here from then on (308). With dry_run=true nothing is written.",
		Permission:  account.LeadUpdate}, a.mergeLeads)
	register(a, Route{Method: "POST", Path: "/api/dedup", ID: "dedup-list", Tag: tagLeads, Summary: "Find duplicates in a posted list", Permission: account.LeadRead, MaxBody: 64 << 20, Timeout: bulkTimeout}, a.dedupList)
	register(a, Route{Method: "GET", Path: "/api/dedup/config", ID: "get-dedup-config", Tag: tagLeads, Summary: "How duplicates are recognised", Permission: account.LeadRead}, a.dedupConfig)
}

type bulkInput struct{ Body bulkBody }

// bulkBody keeps the rows undecoded, so that a bad row refuses itself alone and a large body is parsed once.
type bulkBody struct {
	Leads []json.RawMessage
	err   error
}

type bulkBodyDoc struct {
	_     struct{}      `additionalProperties:"true"`
	Leads []leadBodyDoc `json:"leads" doc:"1 to 100,000 leads."`
}

// UnmarshalJSON never fails: what is wrong is the handler's to report. A bare list is taken too.
func (b *bulkBody) UnmarshalJSON(raw []byte) error {
	if !utf8.Valid(raw) { // it could not even be stored for the job
		b.err = fault.Malformed("invalid_utf8", "The body is not valid UTF-8. Send JSON encoded as UTF-8.")
		return nil
	}
	var body struct {
		Leads []json.RawMessage `json:"leads"`
	}
	if raw[0] == '[' {
		return json.Unmarshal(raw, &b.Leads)
	}
	if json.Unmarshal(raw, &body) != nil {
		b.err = fault.Invalid("leads", "wrong_type", "Send an object with a list: {\"leads\": [...]}.")
	}
	b.Leads = body.Leads
	return nil
}

// Schema implements huma.SchemaProvider.
func (bulkBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[bulkBodyDoc](), true, "BulkInput")
}

type bulkOutput struct {
	Location string `header:"Location"`
	Body     struct {
		Status    string               `json:"status" enum:"success,partial,failed,queued,running,finished" doc:"A job is queued, running, finished or failed; a reply with results is success, partial or failed."`
		Processed int64                `json:"processed"`
		Total     int64                `json:"total"`
		LeadIDs   []lead.ID            `json:"lead_ids"`
		Results   []service.BulkResult `json:"results"`
		Outcomes  map[string]int64     `json:"outcomes"`
		JobID     string               `json:"job_id,omitempty"`
		StatusURL string               `json:"status_url,omitempty"`
		NextFrom  *int                 `json:"next_from,omitempty" doc:"Further results: send it as from."`
		Timestamp time.Time            `json:"timestamp"`
	}
}

func (a *API) bulkLeads(ctx context.Context, sc account.Scope, in *bulkInput) (*bulkOutput, error) {
	if in.Body.err != nil {
		return nil, in.Body.err
	}
	res, err := a.Services.Leads.BulkUpsert(ctx, sc, in.Body.Leads)
	if err != nil {
		return nil, err
	}
	out := &bulkOutput{}
	b := &out.Body
	b.Timestamp, b.Total, b.Outcomes = res.At, int64(len(in.Body.Leads)), map[string]int64{}
	if res.Batch != nil {
		b.Status, b.JobID, b.StatusURL = "queued", res.Batch.ID, "/api/bulks/"+res.Batch.ID
		b.LeadIDs, b.Results, out.Location = []lead.ID{}, []service.BulkResult{}, b.StatusURL
		return out, nil
	}
	out.fill(res.Results)
	b.Processed = int64(len(res.Results))
	switch refused := b.Outcomes[string(lead.Invalid)]; {
	case refused == b.Processed:
		b.Status = "failed"
	case refused > 0:
		b.Status = "partial"
	default:
		b.Status = "success"
	}
	return out, nil
}

func (o *bulkOutput) fill(results []service.BulkResult) {
	o.Body.LeadIDs, o.Body.Results = make([]lead.ID, 0, len(results)), make([]service.BulkResult, len(results))
	for i, r := range results {
		if r.Outcome == lead.Unchanged {
			r.Outcome = lead.Updated
		}
		if r.ID != "" {
			o.Body.LeadIDs = append(o.Body.LeadIDs, r.ID)
		}
		o.Body.Results[i] = r
		o.Body.Outcomes[string(r.Outcome)]++
	}
}

type getBulkInput struct {
	ID    string `path:"id" maxLength:"128"`
	From  int    `query:"from" minimum:"0" maximum:"100000" doc:"First row whose result is wanted."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}

func (a *API) getBulk(ctx context.Context, sc account.Scope, in *getBulkInput) (*bulkOutput, error) {
	batch, results, err := a.Services.Leads.Batch(ctx, sc, in.ID, in.From, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &bulkOutput{}
	b := &out.Body
	b.Outcomes = map[string]int64{}
	out.fill(results)
	b.Timestamp, b.Status, b.Processed, b.Total, b.Outcomes = a.Now().UTC(), batch.Status, batch.Processed, batch.Total, batch.Outcomes
	b.JobID, b.StatusURL = batch.ID, "/api/bulks/"+batch.ID
	if next := in.From + len(results); len(results) == in.Limit && int64(next) < batch.Total {
		b.NextFrom = &next
	}
	return out, nil
}

type dedupeBody struct {
	_        struct{}          `additionalProperties:"true"`
	Leads    []json.RawMessage `json:"leads,omitempty"`
	Strategy string            `json:"strategy,omitempty" enum:"email,phone,fuzzy" default:"email" doc:"fuzzy is not available yet."`
	DryRun   *bool             `json:"dry_run,omitempty" default:"true" doc:"false merges the stored duplicates."`
}

type dedupeInput struct{ Body dedupeBody }

type dedupeOutput struct {
	Body struct {
		Status          string                `json:"status" enum:"success"`
		DryRun          bool                  `json:"dry_run"`
		UniqueCount     int64                 `json:"unique_count"`
		DuplicatesFound int64                 `json:"duplicates_found"`
		MergedLeads     int64                 `json:"merged_leads"`
		UniqueLeads     []json.RawMessage     `json:"unique_leads" doc:"Of a posted list: the rows that stay."`
		Groups          []service.DedupeGroup `json:"groups"`
		More            bool                  `json:"more,omitempty" doc:"There are more groups than one call looks at; call again after merging these."`
		Timestamp       time.Time             `json:"timestamp"`
	}
}

func (a *API) deduplicate(ctx context.Context, sc account.Scope, in *dedupeInput) (*dedupeOutput, error) {
	req := service.DedupeRequest{Rows: in.Body.Leads, Strategy: in.Body.Strategy, Merge: in.Body.DryRun != nil && !*in.Body.DryRun}
	if req.Strategy == "" {
		req.Strategy = lead.KindEmail
	}
	if req.Merge && req.Rows != nil {
		return nil, fault.Invalid("dry_run", "not_applicable", "A posted list is not stored, so nothing can be merged in it. Leave dry_run out, or leave leads out to merge the stored ones.")
	}
	d, err := a.Services.Leads.Deduplicate(ctx, sc, req)
	if err != nil {
		return nil, err
	}
	out := &dedupeOutput{}
	b := &out.Body
	b.Status, b.DryRun, b.Timestamp = "success", !req.Merge, d.At
	b.UniqueCount, b.DuplicatesFound, b.MergedLeads, b.UniqueLeads, b.Groups, b.More = d.Unique, d.Duplicates, d.Merged, d.Rows, d.Groups, d.More
	if b.UniqueLeads == nil {
		b.UniqueLeads = []json.RawMessage{}
	}
	return out, nil
}

func (a *API) dedupList(ctx context.Context, sc account.Scope, in *dedupeInput) (*dedupeOutput, error) {
	if in.Body.Leads == nil {
		return nil, fault.Invalid("leads", "required", "Send the list of leads to look at.")
	}
	return a.deduplicate(ctx, sc, in)
}

type mergeInput struct {
	ID      string `path:"id" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	DryRun  bool   `query:"dry_run"`
	Body    struct {
		LeadIDs []lead.ID `json:"lead_ids" minItems:"1" maxItems:"100" doc:"The leads that this one takes in."`
	}
}

func (a *API) mergeLeads(ctx context.Context, sc account.Scope, in *mergeInput) (*leadOutput, error) {
	e := service.LeadEdit{ID: lead.ID(in.ID), IfMatch: ifMatch(in.IfMatch), DryRun: in.DryRun}
	c, err := a.Services.Leads.Merge(ctx, sc, e, in.Body.LeadIDs)
	if in.DryRun {
		return a.rehearsal(c, err)
	}
	if err != nil {
		return nil, a.showCurrent(err)
	}
	message := "Nothing to merge: they were merged before"
	if n := len(c.Merged); n > 0 {
		message = fmt.Sprintf("Merged %d into this lead", n)
	}
	return a.leadReply(ctx, sc, c, "success", message), nil
}

type dedupConfigOutput struct {
	Body struct {
		Strategies   []string `json:"strategies"`
		IdentityRule []string `json:"identity_rule" doc:"What recognises a lead on create, strongest first."`
		PlusTags     string   `json:"plus_tags" doc:"Addresses that differ by +tag or dots are different people."`
		RoleNames    []string `json:"role_names" doc:"Further local parts of shared mailboxes, which identify nobody."`
		Survivor     string   `json:"survivor"`
	}
}

func (a *API) dedupConfig(ctx context.Context, sc account.Scope, _ *struct{}) (*dedupConfigOutput, error) {
	r, err := a.Services.Leads.LeadRules(ctx, sc)
	if err != nil {
		return nil, err
	}
	out := &dedupConfigOutput{}
	out.Body.Strategies, out.Body.IdentityRule = []string{lead.KindEmail, lead.KindPhone}, r.Identity
	out.Body.PlusTags, out.Body.Survivor, out.Body.RoleNames = "distinct", "oldest", append([]string{}, r.RoleNames...)
	return out, nil
}
