package httpapi

func (a *API) leadBulk()   {}
func (a *API) leadFields() {}
func (a *API) leadNotes()  {}
func (a *API) leadTasks()  {}
