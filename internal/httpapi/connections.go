package httpapi

import (
	"context"
	"strconv"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/fault"
	"leadloom/internal/secret"
	"leadloom/internal/service"
)

func (a *API) connectionRoutes() {
	register(a, Route{Method: "GET", Path: "/api/connections", ID: "list-connections", Tag: "CRM", Summary: "List the connections to CRMs", Permission: account.CRMRead}, a.listConnections)
	register(a, Route{Method: "POST", Path: "/api/connections", ID: "create-connection", Tag: "CRM", Summary: "Connect a CRM",
		Description: "Refuses an address that may not be called. The test is a job; its outcome is the connection's state.", Permission: account.CRMConfig, MaxBody: 256 << 10}, a.createConnection)
	register(a, Route{Method: "GET", Path: "/api/connections/{id}", ID: "get-connection", Tag: "CRM", Summary: "A connection with its state, budget, backlog and mapping", Permission: account.CRMRead}, a.getConnection)
	register(a, Route{Method: "PATCH", Path: "/api/connections/{id}", ID: "change-connection", Tag: "CRM", Summary: "Change a connection",
		Description: "Absent fields stay. A changed address removes the stored credentials unless new ones come with it.", Permission: account.CRMConfig, MaxBody: 256 << 10}, a.changeConnection)
	register(a, Route{Method: "DELETE", Path: "/api/connections/{id}", ID: "remove-connection", Tag: "CRM", Summary: "Remove a connection",
		Description: "What was sent stays in the CRM; links, waiting changes and problems go. Workflow steps that wait for it fail.", Permission: account.CRMConfig}, a.removeConnection)
	register(a, Route{Method: "POST", Path: "/api/connections/{id}/test", ID: "test-connection", Tag: "CRM", Summary: "Queue a test of a connection", Permission: account.CRMConfig}, func(ctx context.Context, sc account.Scope, in *connectionPath) (*connectionOutput, error) {
		return showConnection(a.Services.CRM.Test(ctx, sc, crm.ConnectionID(in.ID)))
	})
	register(a, Route{Method: "POST", Path: "/api/connections/{id}/pause", ID: "pause-connection", Tag: "CRM", Summary: "Stop sending; changes go on being noted", Permission: account.CRMConfig}, func(ctx context.Context, sc account.Scope, in *connectionPath) (*connectionOutput, error) {
		return showConnection(a.Services.CRM.SetPaused(ctx, sc, crm.ConnectionID(in.ID), true))
	})
	register(a, Route{Method: "POST", Path: "/api/connections/{id}/resume", ID: "resume-connection", Tag: "CRM", Summary: "Go on sending, after a test", Permission: account.CRMConfig}, func(ctx context.Context, sc account.Scope, in *connectionPath) (*connectionOutput, error) {
		return showConnection(a.Services.CRM.SetPaused(ctx, sc, crm.ConnectionID(in.ID), false))
	})
	register(a, Route{Method: "GET", Path: "/api/connections/{id}/problems", ID: "list-connection-problems", Tag: "CRM", Summary: "Leads that the CRM refused, with its words", Permission: account.CRMRead}, a.listProblems)
	register(a, Route{Method: "POST", Path: "/api/connections/{id}/problems/retry", ID: "retry-connection-problems", Tag: "CRM", Summary: "Send refused leads again",
		Description: "The named problems, or all of them; at most 500 a call.", Permission: account.CRMSync}, a.retryProblems)
}

type connectionPath struct {
	ID string `path:"id"`
}

type budgetBody struct {
	CallsPerSecond float64    `json:"calls_per_second"`
	DailyLimit     int64      `json:"daily_limit"`
	DailyUsed      int64      `json:"daily_used"`
	DailyResetAt   *time.Time `json:"daily_reset_at,omitempty"`
	BlockedUntil   *time.Time `json:"blocked_until,omitempty"`
}

type connectionBody struct {
	ConnectionState
	APIURL          string             `json:"api_url"`
	Settings        connector.Settings `json:"settings"`
	CredentialsSet  bool               `json:"credentials_set"`
	CredentialsHint string             `json:"credentials_hint,omitempty" doc:"The last characters of the API key."`
	Enabled         bool               `json:"enabled"`
	Mapping         []crm.FieldMap     `json:"mapping"`
	MappingVersion  int64              `json:"mapping_version"`
	Waiting         int64              `json:"waiting" doc:"Leads that are not in step yet; counted up to 100,000."`
	OldestWaiting   *time.Time         `json:"oldest_waiting_since,omitempty"`
	Problems        int64              `json:"problems"`
	Budget          *budgetBody        `json:"budget,omitempty"`
	Warnings        []string           `json:"warnings,omitempty"`
	Version         int64              `json:"version"`
	CreatedAt       time.Time          `json:"created_at"`
	UpdatedAt       time.Time          `json:"updated_at"`
}

type connectionOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     connectionBody
}

func showConnection(v *service.ConnectionView, err error) (*connectionOutput, error) {
	if err != nil {
		return nil, err
	}
	return &connectionOutput{Location: "/api/connections/" + string(v.ID), ETag: etag(v.Version), Body: connectionOf(v)}, nil
}

func connectionOf(v *service.ConnectionView) connectionBody {
	b := connectionBody{ConnectionState: stateOfConnection(v.Connection), APIURL: v.APIURL, Settings: v.Settings, CredentialsSet: v.Credentials != nil, CredentialsHint: v.CredentialsHint,
		Enabled: v.Enabled, Mapping: v.Mapping, MappingVersion: v.MappingVersion, Waiting: v.Backlog.Count, OldestWaiting: timeOrNil(v.Backlog.Oldest), Problems: v.Problems,
		Warnings: v.Warnings, Version: v.Version, CreatedAt: v.CreatedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC()}
	if v.Budget != nil {
		b.Budget = &budgetBody{CallsPerSecond: float64(v.Budget.RefillMilli) / 1000, DailyLimit: v.Budget.DailyLimit, DailyUsed: v.Budget.DailyUsed,
			DailyResetAt: timeOrNil(v.Budget.DailyResetAt), BlockedUntil: timeOrNil(v.Budget.BlockedUntil)}
	}
	return b
}

type listConnectionsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50"`
	Cursor string `query:"cursor"`
}

type listConnectionsOutput struct {
	Body struct {
		Connections []connectionBody `json:"connections"`
		NextCursor  string           `json:"next_cursor,omitempty"`
	}
}

func (a *API) listConnections(ctx context.Context, sc account.Scope, in *listConnectionsInput) (*listConnectionsOutput, error) {
	after, err := a.position(sc, "connections", in.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := a.Services.CRM.Connections(ctx, sc, crm.ConnectionID(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listConnectionsOutput{}
	out.Body.Connections = []connectionBody{}
	for i, v := range list {
		if i == in.Limit {
			out.Body.NextCursor = a.cursors.encode(sc, "connections", a.Now(), string(list[i-1].ID))
			break
		}
		out.Body.Connections = append(out.Body.Connections, connectionOf(v))
	}
	return out, nil
}

// position reads a cursor whose place is one id; "" without a cursor.
func (a *API) position(sc account.Scope, list, cursor string) (string, error) {
	p, err := a.cursors.decode(sc, list, a.Now(), cursor)
	if err != nil || len(p) == 0 {
		return "", err
	}
	return p[0], nil
}

func (a *API) getConnection(ctx context.Context, sc account.Scope, in *connectionPath) (*connectionOutput, error) {
	return showConnection(a.Services.CRM.Connection(ctx, sc, crm.ConnectionID(in.ID)))
}

// ConnectionFields are what both creating and changing take.
type ConnectionFields struct {
	APIURL      *string             `json:"api_url,omitempty" maxLength:"2000"`
	Settings    *connector.Settings `json:"settings,omitempty"`
	Credentials *map[string]string  `json:"credentials,omitempty" doc:"Write-only: api_key, username, password, client_id, client_secret, webhook_secret. Replaces all of them."`
	Mapping     *[]crm.FieldMap     `json:"mapping,omitempty" maxItems:"500"`
}

func (f ConnectionFields) input() (service.ConnectionInput, error) {
	in := service.ConnectionInput{APIURL: f.APIURL, Settings: f.Settings, Refusal: service.Refuse}
	if f.Mapping != nil {
		in.Mapping = append([]crm.FieldMap{}, *f.Mapping...)
	}
	if f.Credentials != nil {
		in.Secrets = map[string]secret.Masked{}
		for name, v := range *f.Credentials {
			if !service.IsSecretName(name) {
				return in, fault.Invalid("credentials."+name, "unknown_field", "send api_key, username, password, client_id, client_secret or webhook_secret")
			}
			in.Secrets[name] = secret.Masked(v)
		}
	}
	return in, nil
}

type createConnectionInput struct {
	Body struct {
		CRMType string `json:"crm_type" enum:"salesforce,hubspot,pipedrive,zoho,dynamics,airtable,google_sheets,generic"`
		Name    string `json:"name" minLength:"1" maxLength:"100"`
		ConnectionFields
	}
}

func (a *API) createConnection(ctx context.Context, sc account.Scope, in *createConnectionInput) (*connectionOutput, error) {
	ci, err := in.Body.input()
	if err != nil {
		return nil, err
	}
	ci.Type, ci.Name = connector.Type(in.Body.CRMType), in.Body.Name
	return showConnection(a.Services.CRM.Create(ctx, sc, ci))
}

type changeConnectionInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    ConnectionFields
}

func (a *API) changeConnection(ctx context.Context, sc account.Scope, in *changeConnectionInput) (*connectionOutput, error) {
	ci, err := in.Body.input()
	if err != nil {
		return nil, err
	}
	return showConnection(a.Services.CRM.Change(ctx, sc, crm.ConnectionID(in.ID), ifMatch(in.IfMatch), ci))
}

type removeConnectionInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
}

type removeConnectionOutput struct {
	Body struct {
		Status string `json:"status" enum:"removed"`
		ID     string `json:"id"`
	}
}

func (a *API) removeConnection(ctx context.Context, sc account.Scope, in *removeConnectionInput) (*removeConnectionOutput, error) {
	if err := a.Services.CRM.Remove(ctx, sc, crm.ConnectionID(in.ID), ifMatch(in.IfMatch)); err != nil {
		return nil, err
	}
	out := &removeConnectionOutput{}
	out.Body.Status, out.Body.ID = "removed", in.ID
	return out, nil
}

type listProblemsInput struct {
	ID     string `path:"id"`
	State  string `query:"state" enum:"open,retried,resolved" default:"open"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor string `query:"cursor"`
}

type problemBody struct {
	ID          string     `json:"id"`
	LeadID      string     `json:"lead_id"`
	State       string     `json:"state"`
	Class       string     `json:"class"`
	Code        string     `json:"code"`
	Field       string     `json:"field,omitempty"`
	Message     string     `json:"message"`
	LeadVersion int64      `json:"lead_version"`
	Attempts    int64      `json:"attempts"`
	RetryOn     []string   `json:"retry_on"`
	CreatedAt   time.Time  `json:"created_at"`
	LastAt      time.Time  `json:"last_at"`
	ResolvedAt  *time.Time `json:"resolved_at,omitempty"`
}

type listProblemsOutput struct {
	Body struct {
		Problems   []problemBody `json:"problems"`
		NextCursor string        `json:"next_cursor,omitempty"`
	}
}

func (a *API) listProblems(ctx context.Context, sc account.Scope, in *listProblemsInput) (*listProblemsOutput, error) {
	name := "problems " + in.ID + " " + in.State + " " + strconv.Itoa(in.Limit)
	after, err := a.position(sc, name, in.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := a.Services.CRM.Problems(ctx, sc, crm.ConnectionID(in.ID), crm.ProblemState(in.State), crm.ProblemID(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listProblemsOutput{}
	out.Body.Problems = []problemBody{}
	for i, p := range list {
		if i == in.Limit {
			out.Body.NextCursor = a.cursors.encode(sc, name, a.Now(), string(list[i-1].ID))
			break
		}
		out.Body.Problems = append(out.Body.Problems, problemBody{ID: string(p.ID), LeadID: string(p.LeadID), State: string(p.State), Class: string(p.Class), Code: p.Code, Field: p.Field,
			Message: p.Message, LeadVersion: p.LeadVersion, Attempts: p.Attempts, RetryOn: p.RetryOn, CreatedAt: p.CreatedAt.UTC(), LastAt: p.LastAt.UTC(), ResolvedAt: timeOrNil(p.ResolvedAt)})
	}
	return out, nil
}

type retryProblemsInput struct {
	ID   string `path:"id"`
	Body *struct {
		ProblemIDs *[]string `json:"problem_ids,omitempty" maxItems:"500" doc:"Absent: all open ones."`
	}
}

type retryProblemsOutput struct {
	Body struct {
		Retried int `json:"retried"`
	}
}

func (a *API) retryProblems(ctx context.Context, sc account.Scope, in *retryProblemsInput) (*retryProblemsOutput, error) {
	var ids []crm.ProblemID
	if in.Body != nil && in.Body.ProblemIDs != nil {
		ids = []crm.ProblemID{}
		for _, id := range *in.Body.ProblemIDs {
			ids = append(ids, crm.ProblemID(id))
		}
	}
	n, err := a.Services.CRM.RetryProblems(ctx, sc, crm.ConnectionID(in.ID), ids)
	if err != nil {
		return nil, err
	}
	out := &retryProblemsOutput{}
	out.Body.Retried = n
	return out, nil
}
