package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
)

// plain adds a handler that writes its reply itself, under the same table and checks as register, and documents it:
// for replies that are made once and sent often, and for what is no JSON.
func (a *API) plain(rt Route, contentType string, h func(w http.ResponseWriter, r *http.Request, sc account.Scope)) {
	a.page(rt, h)
	a.routes[len(a.routes)-1].Hidden = rt.Hidden
	if rt.Hidden {
		return
	}
	op := &huma.Operation{Method: rt.Method, Path: rt.Path, OperationID: rt.ID, Tags: []string{rt.Tag}, Summary: rt.Summary, Description: rt.Description,
		Security: []map[string][]string{}, Extensions: map[string]any{"x-permission": rt.Permission.String()},
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{}}}}}}
	if rt.Permission != account.Public {
		op.Security = []map[string][]string{{"bearer": {}}, {"key": {}}}
	}
	a.huma.OpenAPI().AddOperation(op)
}
