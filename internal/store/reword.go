package store

import (
	"fmt"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// stepParts are what SQL cannot do of a schema step; each follows the step's SQL in the same transaction.
var stepParts = map[int64]func(*Tx) error{10: (*Tx).reword, 11: (*Tx).reword}

// reword gives every lead the words that lead.Words finds in it, where those that are kept differ.
func (tx *Tx) reword() error {
	tenant, id := "", ""
	for {
		page, err := queryAll(tx.Reader, scanChecked, checkLeads, tenant, id, checkPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, l := range page {
			if err := tx.rewordLead(l); err != nil {
				return err
			}
		}
		tenant, id = page[len(page)-1].tenant, string(page[len(page)-1].ID)
	}
}

func (tx *Tx) rewordLead(l checkedLead) error {
	kept, words := strings.Fields(l.searchs), lead.Words(l.Lead)
	if searchText(words) == l.searchs {
		return nil
	}
	if _, err := tx.exec("UPDATE leads SET search_text=$3 WHERE tenant_id=$1 AND id=$2", l.tenant, string(l.ID), searchText(words)); err != nil {
		return fmt.Errorf("words of lead %s: %w", l.ID, err)
	}
	if !l.Live() { // nobody finds it by its words
		return nil
	}
	sc := account.SystemScope(account.TenantID(l.tenant), "migration")
	if err := tx.removeWords(sc, l.Lead, minus(kept, words)); err != nil {
		return err
	}
	return tx.addWords(sc, l.Lead, minus(words, kept))
}
