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
	page := &LeadPage{Total: -1}
	err := s.st.ReadTogether(ctx, func(r *store.Reader) error {
		plan, err := r.PlanLeads(sc, f)
		if err != nil {
			return err
		}
		if page.Leads, page.Next, err = r.Leads(sc, plan); err != nil || q.NoCount {
			return err
		}
		page.Total, page.Estimate, err = r.CountLeads(sc, plan)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(page.Leads) > limit {
		at := f.Position(page.Leads[limit-1])
		page.Leads, page.Next = page.Leads[:limit], &at
	}
	return page, nil
}
