package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
)

const linkColumns = "connection_id, lead_id, remote_id, remote_url, remote_stamp, synced_version, mapping_version, base, sent_hash, synced_at"

func scanLink(r row) (*crm.Link, error) {
	var l crm.Link
	var base string
	var synced int64
	if err := r.Scan(&l.ConnectionID, &l.LeadID, &l.RemoteID, &l.RemoteURL, &l.RemoteStamp, &l.SyncedVersion, &l.MappingVersion, &base, &l.SentHash, &synced); err != nil {
		return nil, err
	}
	l.SyncedAt = fromMicros(synced)
	if base != "" {
		d := json.NewDecoder(strings.NewReader(base))
		d.UseNumber() // what is compared with must keep all its digits
		if err := d.Decode(&l.Base); err != nil {
			return nil, fmt.Errorf("base of the link of lead %s: %w", l.LeadID, err)
		}
	}
	return &l, nil
}

// LinksOf reads one connection's links of the given leads.
func (r *Reader) LinksOf(sc account.Scope, id crm.ConnectionID, leads []lead.ID) (map[lead.ID]*crm.Link, error) {
	list, err := queryAll(r, scanLink, "SELECT "+linkColumns+" FROM crm_links WHERE tenant_id=$1 AND connection_id=$2 AND lead_id IN "+r.list("$3"),
		string(sc.Tenant()), string(id), idTexts(leads))
	if err != nil {
		return nil, err
	}
	out := make(map[lead.ID]*crm.Link, len(list))
	for _, l := range list {
		out[l.LeadID] = l
	}
	return out, nil
}

// LeadLinks reads the links of the given leads in every connection, without their Base: that is for the drain.
func (r *Reader) LeadLinks(sc account.Scope, leads []lead.ID) ([]*crm.Link, error) {
	return queryAll(r, scanLink, r.leadLinksSQL(), string(sc.Tenant()), idTexts(leads))
}

func (r *Reader) leadLinksSQL() string {
	return "SELECT " + strings.Replace(linkColumns, "base", "''", 1) + " FROM crm_links" + r.by("crm_links_by_lead") + " WHERE tenant_id=$1 AND lead_id IN " + r.list("$2")
}

const linkByRemoteSQL = "SELECT " + linkColumns + " FROM crm_links WHERE tenant_id=$1 AND connection_id=$2 AND remote_id=$3 ORDER BY lead_id LIMIT 1" // crm_links_by_remote

// LinkByRemote finds the link of a remote record.
func (r *Reader) LinkByRemote(sc account.Scope, id crm.ConnectionID, remote string) (*crm.Link, error) {
	return queryOne(r, scanLink, linkByRemoteSQL, string(sc.Tenant()), string(id), remote)
}

type linkRow struct {
	Lead    lead.ID `json:"l"`
	Remote  string  `json:"r"`
	URL     string  `json:"u"`
	Stamp   string  `json:"t"`
	Version int64   `json:"v"`
	Mapping int64   `json:"m"`
	Base    string  `json:"b"`
	Hash    string  `json:"h"`
}

// SaveLinks stores what a connection now has, one statement for the whole batch. An older result never overwrites a
// newer one; an unknown remote id, address or stamp keeps what was known.
func (tx *Tx) SaveLinks(sc account.Scope, id crm.ConnectionID, links []*crm.Link) error {
	if len(links) == 0 {
		return nil
	}
	rows := make([]linkRow, len(links))
	for i, l := range links {
		rows[i] = linkRow{l.LeadID, l.RemoteID, l.RemoteURL, l.RemoteStamp, l.SyncedVersion, l.MappingVersion, "", l.SentHash}
		if l.Base != nil {
			rows[i].Base = jsonText(l.Base)
		}
	}
	_, err := tx.exec(`INSERT INTO crm_links (tenant_id, `+linkColumns+`)
		SELECT $1, $2, value ->> 'l', value ->> 'r', value ->> 'u', value ->> 't', CAST(value ->> 'v' AS BIGINT), CAST(value ->> 'm' AS BIGINT), value ->> 'b', value ->> 'h', $4
		FROM `+tx.eachObject("$3")+` WHERE true
		ON CONFLICT (tenant_id, connection_id, lead_id) DO UPDATE SET
		remote_id = CASE WHEN excluded.remote_id = '' THEN crm_links.remote_id ELSE excluded.remote_id END,
		remote_url = CASE WHEN excluded.remote_url = '' THEN crm_links.remote_url ELSE excluded.remote_url END,
		remote_stamp = CASE WHEN excluded.remote_stamp = '' THEN crm_links.remote_stamp ELSE excluded.remote_stamp END,
		synced_version = excluded.synced_version, mapping_version = excluded.mapping_version, base = excluded.base, sent_hash = excluded.sent_hash, synced_at = excluded.synced_at
		WHERE crm_links.synced_version <= excluded.synced_version`,
		string(sc.Tenant()), string(id), jsonText(rows), micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("save links: %w", err)
	}
	return nil
}
