package service

// Leads are the verbs on leads.
type Leads struct{ *core }
