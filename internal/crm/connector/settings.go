package connector

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"leadloom/internal/fault"
	"leadloom/internal/outbound"
)

// Settings are the parts of a connection that are neither its address nor secret. Empty ones take the defaults of
// the generic contract.
type Settings struct {
	Auth           string            `json:"auth,omitempty" enum:"none,bearer,basic,header,oauth2" doc:"How calls are authorised; by default bearer when an api_key is set, else none."`
	AuthHeader     string            `json:"auth_header,omitempty" doc:"The header that carries the api_key when auth is header."`
	TokenURL       string            `json:"token_url,omitempty" doc:"Where client credentials are exchanged when auth is oauth2."`
	Scope          string            `json:"scope,omitempty"`
	TestPath       string            `json:"test_path,omitempty" doc:"Answered with 2xx when all is well; default /."`
	SchemaPath     string            `json:"schema_path,omitempty" doc:"Default /schema."`
	RecordPath     string            `json:"record_path,omitempty" doc:"Default /leads/{external_id}."`
	RecordMethod   string            `json:"record_method,omitempty" enum:"PUT,POST,PATCH"`
	BatchPath      string            `json:"batch_path,omitempty" doc:"Default /leads/batch; - when there is none."`
	BatchMethod    string            `json:"batch_method,omitempty" enum:"PUT,POST,PATCH"`
	ListPath       string            `json:"list_path,omitempty" doc:"Default /leads."`
	BatchSize      int               `json:"batch_size,omitempty" minimum:"1" maximum:"1000" doc:"Default 100."`
	ResultsField   string            `json:"results_field,omitempty" doc:"Where the list of results is in a reply, in dots; default results."`
	RecordsField   string            `json:"records_field,omitempty" doc:"Where the list of records is in a reply, in dots; default records."`
	IDField        string            `json:"id_field,omitempty" doc:"Where the remote id is in a record, in dots; default id."`
	CursorField    string            `json:"cursor_field,omitempty" doc:"Where the next cursor is in a reply, in dots; default next_cursor."`
	ErrorsField    string            `json:"errors_field,omitempty" doc:"Where the list of errors is in a refusal, in dots; default errors."`
	RatePerSecond  float64           `json:"rate_per_second,omitempty" minimum:"0.01" maximum:"10000" doc:"Calls a second; default 1."`
	DailyLimit     int64             `json:"daily_limit,omitempty" minimum:"0" doc:"Calls a day; 0 means no limit."`
	TimeoutSeconds int               `json:"timeout_seconds,omitempty" minimum:"1" maximum:"30" doc:"Of one call; default 20."`
	Headers        map[string]string `json:"headers,omitempty" doc:"Sent with each call; no secrets."`
	OnGone         string            `json:"on_gone,omitempty" enum:"ask,recreate,stop" doc:"When a record was deleted there; default ask."`
}

// settingNames are the JSON names of Settings.
var settingNames = func() map[string]bool {
	out := map[string]bool{}
	for f := range reflect.TypeFor[Settings]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out[name] = true
	}
	return out
}()

// IsSetting reports whether Settings has a part of that JSON name.
func IsSetting(name string) bool { return settingNames[name] }

// AuthKinds are the values of Settings.Auth.
var AuthKinds = []string{"none", "bearer", "basic", "header", "oauth2"}

// Check reports every setting that is wrong for a kind; prefix is put before each path.
func (s Settings) Check(kind Type, prefix string) (out []fault.Field) {
	bad := func(path, code, msg string) {
		out = append(out, fault.Field{Path: prefix + path, Code: code, Message: msg})
	}
	if kind == Generic && s.Auth != "" && !slices.Contains(AuthKinds, s.Auth) { // other kinds have ways of their own
		bad("auth", "unknown_value", "send one of "+strings.Join(AuthKinds, ", "))
	}
	if s.Auth == "header" && !validHeader(s.AuthHeader) {
		bad("auth_header", "not_allowed", "send the name of a header that may carry the key, such as X-Api-Key")
	}
	if kind == Generic && s.Auth == "oauth2" && s.TokenURL == "" {
		bad("token_url", "required", "send the address where client credentials are exchanged for a token")
	}
	for name, value := range map[string]string{"test_path": s.TestPath, "schema_path": s.SchemaPath, "record_path": s.RecordPath, "batch_path": s.BatchPath, "list_path": s.ListPath} {
		if value != "" && !validPath(value) && !(name == "batch_path" && value == "-") {
			bad(name, "not_a_path", "send a path that begins with /, without ? or #")
		}
	}
	if s.RecordPath != "" && !strings.Contains(s.RecordPath, "{external_id}") {
		bad("record_path", "placeholder_missing", "put {external_id} where the lead's id belongs")
	}
	for name, value := range map[string]string{"record_method": s.RecordMethod, "batch_method": s.BatchMethod} {
		if value != "" && value != http.MethodPut && value != http.MethodPost && value != http.MethodPatch {
			bad(name, "unknown_value", "send PUT, POST or PATCH")
		}
	}
	if s.BatchSize < 0 || s.BatchSize > 1000 {
		bad("batch_size", "out_of_range", "send 1 to 1000")
	}
	if s.RatePerSecond < 0 || s.RatePerSecond > 10_000 {
		bad("rate_per_second", "out_of_range", "send 0.01 to 10000")
	}
	if s.DailyLimit < 0 {
		bad("daily_limit", "out_of_range", "send 0 for no limit, or the number of calls a day")
	}
	if s.TimeoutSeconds < 0 || s.TimeoutSeconds > 30 {
		bad("timeout_seconds", "out_of_range", "send 1 to 30")
	}
	if s.OnGone != "" && s.OnGone != "ask" && s.OnGone != "recreate" && s.OnGone != "stop" {
		bad("on_gone", "unknown_value", "send ask, recreate or stop")
	}
	for name, value := range s.Headers {
		if !validHeader(name) || secretHeader(name) || len(value) > 2000 || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			bad("headers."+name, "not_allowed", "this header cannot be set here; a credential goes into api_key, with auth header and auth_header")
		}
	}
	return out
}

// secretHeader reports whether a header by its name carries a credential: the headers of a connection are shown.
func secretHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"}, func(word string) bool { return strings.Contains(name, word) })
}

func validHeader(name string) bool {
	if name == "" || !outbound.HeaderAllowed(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	})
}

func validPath(p string) bool {
	u, err := url.Parse(p)
	return err == nil && strings.HasPrefix(p, "/") && u.Host == "" && !strings.ContainsAny(p, "?# \\")
}

func or(v, d string) string {
	if v == "" {
		return d
	}
	return v
}

func (s Settings) batchSize() int {
	if s.BatchSize > 0 {
		return s.BatchSize
	}
	return 100
}

func (s Settings) timeout() time.Duration {
	if s.TimeoutSeconds > 0 {
		return time.Duration(s.TimeoutSeconds) * time.Second
	}
	return 20 * time.Second
}
