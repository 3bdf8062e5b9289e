package service

import (
	"context"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/store"
)

// Problems lists a connection's problems in one state, oldest first.
func (m *CRM) Problems(ctx context.Context, sc account.Scope, id crm.ConnectionID, state crm.ProblemState, after crm.ProblemID, limit int) ([]*crm.Problem, error) {
	r := m.st.Read(ctx)
	if _, err := r.Connection(sc, id); err != nil {
		return nil, notFound(err, "connection", string(id))
	}
	return r.Problems(sc, id, state, after, limit)
}

// maxRetried is how many problems one request turns back into dirty rows.
const maxRetried = 500

// RetryProblems sends open problems again, the named ones or (nil) all of them, at most 500 a call.
func (m *CRM) RetryProblems(ctx context.Context, sc account.Scope, id crm.ConnectionID, ids []crm.ProblemID) (int, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (int, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return 0, notFound(err, "connection", string(id))
		}
		n, err := tx.RetryProblems(sc, id, crm.RetryManual, ids, maxRetried)
		if err != nil || n == 0 || !con.Ready(tx.Now()) {
			return n, err
		}
		return n, m.wakeDrain(tx, sc, id)
	})
}
