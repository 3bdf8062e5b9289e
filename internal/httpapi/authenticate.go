package httpapi

import (
	"net/http"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

// credentials turns a request's token, key or session into its scope.
func (a *API) credentials(r *http.Request) (account.Scope, error) {
	return account.Scope{}, fault.Unauthorized("no_credential", "Send Authorization: Bearer <token or API key>, or X-API-Key.")
}
