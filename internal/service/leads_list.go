package service

import (
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// LeadQuery is a list as a caller asks for it. Cursor is the sort value and id of the last row seen.
type LeadQuery struct {
	store.LeadFilter
	NoCount bool
}

// LeadPage is one page of a list. Next is where the next one goes on, nil at the end; a page before it may have fewer
// leads than its limit, even none, where several parts of a filter find few. Total is exact unless Estimate is set; -1 when it was not asked for.
type LeadPage struct {
	Leads    []*lead.Lead
	Next     *store.LeadPosition
	Total    int64
	Estimate bool
}

// List reads one page of live leads.
func (s *Leads) List(ctx ctxT, sc account.Scope, q LeadQuery) (*LeadPage, error) {
	r := s.st.Read(ctx)
	f := q.LeadFilter
	f.Q = strings.TrimSpace(f.Q)
	f.Words = lead.QueryWords(f.Q)
	if addr, problem := lead.ParseEmail("q", f.Q); problem == nil {
		f.Address = lead.FoldEmail(addr)
	}
	if addr, problem := lead.ParseEmail("email", f.Email); problem == nil {
		f.Email = addr
	}
	limit := f.Limit
	f.Limit++
	plan, err := r.PlanLeads(sc, f)
	if err != nil {
		return nil, err
	}
	leads, next, err := r.Leads(sc, plan)
	if err != nil {
		return nil, err
	}
	page := &LeadPage{Leads: leads, Next: next, Total: -1}
	if len(leads) > limit {
		at := f.Position(leads[limit-1])
		page.Leads, page.Next = leads[:limit], &at
	}
	if !q.NoCount {
		page.Total, page.Estimate, err = r.CountLeads(sc, plan)
	}
	return page, err
}
