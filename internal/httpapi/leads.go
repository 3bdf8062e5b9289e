package httpapi

// leads registers the routes of leads.
func (a *API) leads() {}
