package httpapi

func (a *API) leadBulk() {}
