package httpapi

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
)

// plain adds a handler that writes its reply itself, under the same table and checks as register, and documents it:
// for replies that are made once and sent often, and for what is no JSON. shape is a value of the reply's type when it
// is JSON, else nil; a status in rt.Also has the same shape, but 304 none.
func (a *API) plain(rt Route, contentType string, shape any, h func(w http.ResponseWriter, r *http.Request, sc account.Scope)) {
	a.page(rt, h)
	a.routes[len(a.routes)-1].Hidden = rt.Hidden
	if rt.Hidden {
		return
	}
	schemas := a.huma.OpenAPI().Components.Schemas
	schema := &huma.Schema{}
	if shape != nil {
		schema = schemas.Schema(reflect.TypeOf(shape), true, "")
	}
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "")
	op := &huma.Operation{Method: rt.Method, Path: rt.Path, OperationID: rt.ID, Tags: []string{rt.Tag}, Summary: rt.Summary, Description: rt.Description,
		Security: []map[string][]string{}, Extensions: map[string]any{"x-permission": rt.Permission.String()},
		Responses: map[string]*huma.Response{
			"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: schema}}},
			"508": {Description: http.StatusText(508), Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}},
		}}
	for _, status := range rt.Also {
		res := &huma.Response{Description: http.StatusText(status)}
		if status != http.StatusNotModified {
			res.Content = op.Responses["200"].Content
		}
		op.Responses[strconv.Itoa(status)] = res
	}
	if rt.Permission != account.Public {
		op.Security = []map[string][]string{{"bearer": {}}, {"key": {}}}
	}
	a.huma.OpenAPI().AddOperation(op)
}
