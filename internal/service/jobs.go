package service

import "leadloom/internal/queue"

// Jobs registers the worker of every kind of job and returns the work by the clock. It is the one list of both.
func (s *Services) Jobs(reg *queue.Registry) []queue.Periodic {
	var clock []queue.Periodic
	s.Leads.jobs(reg)
	clock = append(clock, s.System.jobs(reg)...)
	clock = append(clock, s.Mail.jobs(reg)...)
	clock = append(clock, s.Campaigns.jobs(reg)...)
	clock = append(clock, s.Accounts.jobs(reg)...)
	clock = append(clock, s.CRM.jobs(reg)...)
	return append(clock, s.Workflows.jobs(reg)...)
}
