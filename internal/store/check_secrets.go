package store

import (
	"encoding/base64"
	"fmt"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/crm"
)

// whole asks the engine about its own structures.
func (c *checking) whole() (err error) {
	if c.s.pg != nil {
		if c.rows, err = queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM pg_index"); err != nil {
			return err
		}
		return c.report(`SELECT '', i.indexrelid::regclass::text, 'is an index that PostgreSQL does not trust: build it anew with REINDEX' FROM pg_index i
			JOIN pg_class k ON k.oid=i.indexrelid WHERE k.relnamespace=current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)`)
	}
	if c.rows, err = queryOne(c.Reader, scanInt, "PRAGMA page_count"); err != nil {
		return err
	}
	said, err := queryAll(c.Reader, scanString, fmt.Sprintf("PRAGMA quick_check(%d)", findingsPerCheck))
	for _, s := range said {
		if s != "ok" {
			c.found("", "database", "%s", s)
		}
	}
	return err
}

// objectsHaveEvents looks for the event of its making of each thing that a person makes.
func (c *checking) objectsHaveEvents() error {
	for _, o := range [][3]string{{"notes", "note.added", ""}, {"tasks", "task.created", ""}, {"workflows", "workflow.created", ""}, {"campaigns", "campaign.created", ""},
		{"users", "user.created", ""}, {"api_keys", "key.created", ""}, {"connections", "connection.saved", ""}, {"templates", "template.saved", ""}} {
		n, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM "+o[0])
		if err != nil {
			return err
		}
		c.rows += n
		if err := c.report("SELECT x.tenant_id, x.id, 'is one of " + o[0] + " and has no event " + o[1] + "' FROM " + o[0] + " x WHERE " + noEvent("x", "'"+o[1]+"'")); err != nil {
			return err
		}
	}
	return nil
}

// sealedHead is the least that a sealed value is long: format, key id, nonce and tag; see package secret.
const sealedHead = 1 + 4 + 12 + 16

type sealed struct {
	tenant, id string
	bytes      []byte
}

func (c *checking) credentials() ([]sealed, error) {
	return queryAll(c.Reader, func(r row) (s sealed, err error) {
		err = r.Scan(&s.tenant, &s.id, &s.bytes)
		return
	}, "SELECT tenant_id, id, credentials FROM connections WHERE credentials IS NOT NULL ORDER BY tenant_id, id")
}

// credentialsAreSealed wants each stored credential in the form of a sealed value and, with the key, opens it.
func (c *checking) credentialsAreSealed() error {
	all, err := c.credentials()
	for _, s := range all {
		if len(s.bytes) < sealedHead || s.bytes[0] != 1 {
			c.found(s.tenant, s.id, "keeps its credentials in another form than sealed")
		} else if c.aids.Credentials != nil {
			if _, err := c.aids.Credentials(account.TenantID(s.tenant), crm.ConnectionID(s.id), s.bytes); err != nil {
				c.found(s.tenant, s.id, "keeps credentials that this server's key does not open")
			}
		}
	}
	return err
}

// secretsAreDigests wants 64 hexadecimal digits wherever a random secret is known again, and argon2id for passwords. A
// secret of ours has another length.
func (c *checking) secretsAreDigests() error {
	for _, s := range [][3]string{{"api_keys", "tenant_id, id", "digest"}, {"sessions", "tenant_id, id", "digest"}, {"sessions", "tenant_id, id", "previous"}, {"setup_links", "'', SUBSTR(digest,1,8)", "digest"}, {"login_failures", "'', SUBSTR(name_digest,1,8)", "name_digest"}} {
		n, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM "+s[0])
		if err != nil {
			return err
		}
		c.rows += n
		if err := c.report("SELECT " + s[1] + ", 'keeps in " + s[0] + "." + s[2] + " what is no digest' FROM " + s[0] + " WHERE " + s[2] + "<>'' AND LENGTH(" + s[2] + ")<>64"); err != nil {
			return err
		}
	}
	return c.report("SELECT tenant_id, id, 'keeps a password that is not hashed by argon2id' FROM users WHERE password_hash<>'' AND password_hash NOT LIKE '$argon2id$%'")
}

// openPlaces are the texts in which a secret would be shown, logged or sent on. What people write about their own leads
// (notes, custom fields) is theirs.
var openPlaces = []struct{ table, id, text string }{
	{"events", "x.id", "COALESCE(x.data,'')||' '||COALESCE(x.changes,'')||' '||x.actor_name||' '||COALESCE(x.subject_id,'')"},
	{"settings", "x.key", "x.value"}, {"workflow_versions", "x.workflow_id||'/'||x.version", "x.definition"},
	{"step_intents", "x.run_id||'/'||x.node", "x.request||' '||x.attempts||' '||x.remote_id"},
	{"run_steps", "x.run_id||'/'||x.seq", "COALESCE(x.decision,'')||' '||COALESCE(x.output,'')||' '||COALESCE(x.error,'')"},
	{"runs", "x.id", "x.context||' '||COALESCE(x.parked,'')||' '||x.reason"},
	{"messages", "x.id", "x.subject||' '||x.html||' '||x.text||' '||x.detail"}, {"campaign_recipients", "x.campaign_id||'/'||x.id", "x.detail"},
	{"message_events", "x.event_id", "x.detail"}, {"campaigns", "x.id", "x.content||' '||x.hold_text"}, {"templates", "x.id", "x.subject||' '||x.html||' '||x.text"},
	{"connections", "x.id", "x.settings||' '||x.state_reason||' '||x.account||' '||x.api_url||' '||x.peer"}, {"mappings", "x.connection_id", "x.fields"},
	{"crm_links", "x.connection_id||'/'||x.lead_id", "x.remote_url||' '||x.base"}, {"crm_problems", "x.id", "x.message"},
}

// noSecretInTheOpen reads those texts for credentials that are in force: keys and tokens of ours, proved by their
// digests, access tokens, password hashes and, with the key, the credentials of the tenant's own connections.
func (c *checking) noSecretInTheOpen() error {
	known := map[string][]string{} // by tenant
	if c.aids.Credentials != nil {
		all, err := c.credentials()
		if err != nil {
			return err
		}
		for _, s := range all {
			plain, _ := c.aids.Credentials(account.TenantID(s.tenant), crm.ConnectionID(s.id), s.bytes) // what cannot be opened is another check's
			for name, v := range plain {
				if name != "username" && name != "client_id" && len(v) >= 8 { // shorter ones are words
					known[s.tenant] = append(known[s.tenant], v)
				}
			}
		}
	}
	look := func(what, tenant, id, text string) {
		for _, v := range known[tenant] {
			if strings.Contains(text, v) {
				c.found(tenant, id, "%s holds a credential of a connection", what)
			}
		}
		for _, t := range tokens(text) {
			if ours, err := c.ours(t); err == nil && ours {
				c.found(tenant, id, "%s holds a key or token of ours", what)
			}
		}
		if strings.Contains(text, "$argon2id$v=") {
			c.found(tenant, id, "%s holds the hash of a password", what)
		}
	}
	for _, p := range openPlaces {
		if err := c.eachText("SELECT x.tenant_id, "+p.id+", "+p.text+" FROM "+p.table+" x", func(tenant, id, text string) { look("its row of "+p.table, tenant, id, text) }); err != nil {
			return err
		}
	}
	if there, err := c.hasTable("river_job"); err != nil || !there {
		return err
	}
	text, tenant := "json(args)||' '||COALESCE(json(errors),'')||' '||json(metadata)", c.jobArg("tenant_id")
	if c.s.pg != nil {
		text = "CAST(args AS TEXT)||' '||COALESCE(CAST(errors AS TEXT),'')||' '||CAST(metadata AS TEXT)"
	}
	return c.eachText("SELECT COALESCE("+tenant+",''), 'job ' || id, "+text+" FROM river_job", func(tenant, id, text string) { look("its row of the queue", tenant, id, text) })
}

// eachText streams (tenant, id, text).
func (c *checking) eachText(query string, each func(tenant, id, text string)) error {
	return queryEach(c.Reader, func(r row) error {
		var tenant, id, text string
		if err := r.Scan(&tenant, &id, &text); err != nil {
			return err
		}
		c.rows++
		if !c.full() {
			each(tenant, id, text)
		}
		return nil
	}, query)
}

// tokenLengths are the lengths of our credentials by prefix; see package account. A JWT has any length.
var tokenLengths = map[string]int{"ll_": 54, "lr_": 46, "lc_": 46, "lsetup_": 50, "eyJ": 0}

// tokens are the pieces of a text that have the form of a credential of ours.
func tokens(text string) (out []string) {
	for prefix, length := range tokenLengths {
		for rest := text; ; {
			i := strings.Index(rest, prefix)
			if i < 0 {
				break
			}
			rest = rest[i:]
			n := strings.IndexFunc(rest, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
			})
			if n < 0 {
				n = len(rest)
			}
			switch {
			case length > 0 && n >= length:
				out = append(out, rest[:length])
			case length == 0 && strings.Count(rest[:n], ".") == 2:
				out = append(out, rest[:n])
			}
			rest = rest[len(prefix):]
		}
	}
	return out
}

// ours reports whether a token is one of ours: its digest is stored, or it is an access token that names us.
func (c *checking) ours(token string) (bool, error) {
	if strings.HasPrefix(token, "eyJ") {
		claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		return err == nil && strings.Contains(string(claims), `"iss":"leadloom"`), nil
	}
	if public, ok := account.KeyPublicPart(token); ok {
		n, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM api_keys WHERE public=$1 AND digest=$2", public, account.Digest(token))
		return n > 0, err
	}
	n, err := queryOne(c.Reader, scanInt, "SELECT (SELECT COUNT(*) FROM sessions WHERE digest=$1)+(SELECT COUNT(*) FROM sessions WHERE previous<>'' AND previous=$1)+(SELECT COUNT(*) FROM setup_links WHERE digest=$1)", account.Digest(token))
	return n > 0, err
}
