package service

// Accounts are the verbs on tenants, users, sessions and API keys.
type Accounts struct{ *core }
