package service

// Analytics are the figures of dashboards and reports, all computed from rows.
type Analytics struct{ *core }
