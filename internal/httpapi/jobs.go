package httpapi

import (
	"net/http"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

// jobsScreen mounts the queue's own screen behind our login, its permission and a check that changes come from our
// own pages: it knows none of these.
func (a *API) jobsScreen() {
	origin := http.NewCrossOriginProtection()
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		a.page(Route{Method: method, Path: "/admin/jobs/", Permission: account.SystemAdmin}, func(w http.ResponseWriter, r *http.Request, _ account.Scope) {
			if err := origin.Check(r); err != nil {
				writeProblem(w, r, &fault.Error{Kind: fault.KindForbidden, Code: "foreign_origin", Message: "This request comes from a page of another site. Use the jobs screen itself.", Cause: err}, a.Log)
				return
			}
			if a.Jobs == nil {
				writeProblem(w, r, fault.Unavailable("no_jobs_screen", "The queue does not run in this process.", 0, nil), a.Log)
				return
			}
			w.Header().Set("Cache-Control", "no-store")
			a.Jobs.ServeHTTP(w, r)
		})
	}
}
