package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/event"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// plantedKey is an API key of the right form, whose digest the test stores.
const (
	plantedKey        = "ll_abcdefgh" + "0123456789012345678901234567890123456789012"
	plantedCredential = "planted-credential-1"
)

// checkAids are every tenant's default rules, and one credential for whatever has the form of a sealed value.
var checkAids = store.Aids{
	Rules: func(*store.Reader, account.Scope) (*lead.Rules, error) { return lead.DefaultRules(), nil },
	Credentials: func(_ account.TenantID, _ crm.ConnectionID, sealed []byte) (map[string]string, error) {
		if sealed[0] != 1 {
			return nil, errors.New("not sealed")
		}
		return map[string]string{"api_key": plantedCredential, "username": "ada@example.com"}, nil
	},
}

func broken(t *testing.T, st *store.Store, check string) store.Checked {
	t.Helper()
	c, err := st.Read(t.Context()).CheckWith(onInstance, check, checkAids)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onEngine puts an engine's own words for bytes into a statement: the value 'x' as bytes.
func onEngine(st *store.Store, text string) string {
	if st.SQLite() != nil {
		return strings.NewReplacer("BYTES('plain')", "CAST('plain' AS BLOB)", "SEALED", "x'01"+strings.Repeat("00", 40)+"'").Replace(text)
	}
	return strings.NewReplacer("BYTES('plain')", "CAST('plain' AS BYTEA)", "SEALED", `'\x01`+strings.Repeat("00", 40)+`'::bytea`).Replace(text)
}

// loosen takes off what the engines refuse by themselves, so that a check can be seen to find it.
func loosen(t *testing.T, st *store.Store) {
	t.Helper()
	rawExec(t, st, "DROP INDEX messages_by_step")
	if st.SQLite() != nil {
		rawExec(t, st, "PRAGMA ignore_check_constraints=1")
		return
	}
	rawExec(t, st, `DO $$ DECLARE c record; BEGIN FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype='c' AND conrelid::regclass::text IN ('campaign_recipients','messages')
		LOOP EXECUTE 'ALTER TABLE ' || c.t || ' DROP CONSTRAINT ' || quote_ident(c.conname); END LOOP; END $$`)
}

func aRun(id, status, phase string) string {
	return "INSERT INTO runs (tenant_id,id,workflow_id,version,lead_id,trigger_id,event_id,status,outcome,node,phase,steps,visits,generation,turn,context,reason,depth,path,started_at,updated_at,finished_at)" +
		" VALUES ('t-one','" + id + "','w',1,'l','','','" + status + "','','n','" + phase + "',0,'{}',1,1,'{}','',0,'[]',1,1,0)"
}

// aMessage has further columns as "campaign, recipient, address key, step key, state, reason".
func aMessage(tenant, id, more string) string {
	return "INSERT INTO messages (tenant_id,id,campaign_id,recipient_id,address_key,step_key,state,reason,header_id,kind,lead_id,to_name,address,from_address,reply_to,subject,html,text,auto,detail,stage,claim,claim_until_at,attempts,due_at,queued_at,final_at,smtp_code,enhanced,size)" +
		" VALUES ('" + tenant + "','" + id + "'," + more + ",'h','','','','','','','','','',0,'','','',0,0,0,0,0,0,'',0)"
}

func anIntent(node, effect, request, state, attempts string) string {
	return "INSERT INTO step_intents VALUES ('t-one','r-5','" + node + "',1,1,'" + effect + "','" + request + "','','" + state + "',1,'" + attempts + "','',1,1)"
}

func aJob(kind, args string) string {
	return "INSERT INTO river_job (args, kind, max_attempts, queue, state) VALUES ('" + args + "','" + kind + "',3,'run','available')"
}

const (
	aConnection = "INSERT INTO connections (tenant_id,id,type,name,api_url,settings,credentials_digest,credentials_hint,enabled,state,state_code,state_reason,state_until,failures,mapping_version,quota_key,schema_hash,account,peer,marked_through,version,created_at,updated_at,saved_at,tested_at,synced_at)" +
		" VALUES ('t-one','con','generic','c','','{}','','',1,'ok','','',0,0,1,'','','','',NULL,1,1,1,1,1,1)"
	aCampaign = "INSERT INTO campaigns (tenant_id,id,name,kind,state,hold,hold_text,hold_since_at,topic,audience,content,from_address,reply_to,scheduled_at,per_minute,missing,prepared,version,created_at,updated_at,started_at,finished_at)" +
		" VALUES ('t-one','c-1','c','broadcast','sent','','',0,'','{}','{}','','',0,0,'empty','done',1,1,1,1,1)"
	aLead  = "('l-1','','','','','','','','','','','new',5,'','[]','{}','','','','',1,1,1,0,'')"
	anyRow = "*" // of a finding whose id differs between the engines
)

// TestCheck_FindsWhatIsBroken breaks each invariant by hand, as no code of ours can, and wants it named with its row.
func TestCheck_FindsWhatIsBroken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		if err := queue.MigrateUp(t.Context(), queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres()}); err != nil {
			t.Fatal(err)
		}
		for _, name := range store.Checks() {
			if c := broken(t, st, name); len(c.Findings) != 0 {
				t.Fatalf("%s on an empty database: %v", name, c.Findings)
			}
		}
		appendEvents(t, st, "t-chain", 3, event.UserLogin)
		sealExactly(t, st, 3)
		loosen(t, st)
		covered, numbers := map[string]bool{}, map[int]bool{}
		for _, c := range []struct{ check, id, detail, sql string }{
			{"event_chain", "block 1", "was changed after it was sealed", "UPDATE events SET subject_id='forged' WHERE tenant_id='t-chain' AND subject_id='s-1'"},
			{"event_chain", "block 1", "sealed with 3 events and has 2", "DELETE FROM events WHERE tenant_id='t-chain' AND subject_id='s-2'"},
			{"event_chain_complete", "events", "of 2 events before the last seal 3", "UPDATE seal_state SET sealed_at=sealed_at"},
			{"count_of_leads", "leads", "counted as 7", "INSERT INTO tenant_counters VALUES ('t-one','leads',0,7)"},
			{"count_of_users", "users", "counted as 2", "INSERT INTO tenant_counters VALUES ('t-one','users',0,2)"},
			{"count_of_tenants", "tenants", "their rows are 1", "INSERT INTO tenants VALUES ('t-two','Two','pro','active','UTC','',1,1)"},
			{"count_of_tags", "tag:hot", "its rows are 1", "INSERT INTO lead_tags VALUES ('t-one','hot',1,'l')"},
			{"tags_are_those_of_leads", "l", "no live lead", ""},
			{"identities_have_leads", "gone", "e-mail", "INSERT INTO lead_identities VALUES ('t-one','gone','e-mail','a@b.example',1)"},
			{"score_is_the_ledger", "l-1", "score 5", "INSERT INTO leads VALUES ('t-one'," + aLead[1:]},
			{"leads_were_created", "l-1", "no event of its creation", ""},
			{"changes_of_leads_have_events", "l-1", "at version 1", ""},
			{"rows_have_a_tenant", "leads", "a tenant that is not there", ""},
			{"leads_show_what_they_hold", "l-1", "the address", "UPDATE leads SET email='x@example.com' WHERE id='l-1'"},
			{"leads_show_what_they_hold", "l-1", "the words", ""},
			{"identities_follow_the_rules", "l-1", "not recognised by its email", ""},
			{"identities_follow_the_rules", "l-1", "a value of phone", "INSERT INTO lead_identities VALUES ('t-one','l-1','phone','+49301',1)"},
			{"words_are_those_of_leads", "l-1", `the word "nowhere"`, "INSERT INTO lead_words VALUES ('t-one','nowhere',1,'l-1')"},
			{"words_are_those_of_leads", "l-1", "has 2 words and is found by 1", "UPDATE leads SET search_text=' here nowhere' WHERE id='l-1'"},
			{"tags_are_those_of_leads", "l-1", "has 1 tags and is listed by 0", `UPDATE leads SET tags='["Café"]' WHERE id='l-1'`},
			{"tags_are_those_of_leads", "l-1", "is listed by the tag cold", "INSERT INTO lead_tags VALUES ('t-one','cold',1,'l-1')"},
			{"counts_of_lists", "owner:u-1", "is counted as 2, its rows are 0", "INSERT INTO tenant_counters VALUES ('t-one','owner:u-1',0,2)"},
			{"counts_of_lists", "status:new", "is counted as 0, its rows are 1", ""},
			{"figures_of_leads", "born:1000000000", "is counted as 0, its rows are 1", ""},
			{"figures_of_leads", "bornd:1000000000:status:new", "is counted as 3, its rows are 1", "INSERT INTO tenant_counters VALUES ('t-one','bornd:1000000000:status:new',0,3)"},
			{"stages_of_leads", "l-1", "has reached stage 2, noted is 1", "INSERT INTO lead_stages VALUES ('t-one','l-1',1); UPDATE leads SET status='converted' WHERE id='l-1'"},
			{"runs_move", "r-1", "0 jobs", aRun("r-1", "running", "")},
			{"runs_have_events", "r-1", "run.started", ""},
			{"rows_stay_in_their_tenant", "r-1", "which is not there", ""},
			{"rows_stay_in_their_tenant", "r-1", "pins version 1", ""},
			{"unknown_effects_are_shown", "r-1", "effect is unknown while the run is running", "INSERT INTO step_intents VALUES ('t-one','r-1','n',1,1,'http','','','unknown',1,'[]','',1,1)"},
			{"runs_move", "r-1", "2 jobs", aJob("run.advance", `{"tenant_id":"t-one","run_id":"r-1","turn":1}`) + ";" + aJob("run.advance", `{"tenant_id":"t-one","run_id":"r-1","turn":1}`)},
			{"runs_move", "r-2", "0 timers", aRun("r-2", "waiting", "wait")},
			{"runs_move", "r-3", "nobody", aRun("r-3", "waiting", "outside")},
			{"runs_move", "r-4", "held", aRun("r-4", "held", "")},
			{"runs_move", "r-5", "reason", aRun("r-5", "parked", "")},
			{"timers_have_runs", "r-none", "not there", "INSERT INTO timers VALUES ('t-one','r-none','wait',1,1,1)"},
			{"steps_of_runs", "r-5", "counts 3 steps", "UPDATE runs SET steps=3 WHERE id='r-5'"},
			{"one_effect_per_step", "r-5", "succeeded 2 times", anIntent("call", "action.http", `{"method":"POST"}`, "done", `[{"code":"http_200"},{"code":"http_201"}]`)},
			{"effects_have_an_end", "r-5", "has left the step elsewhere", anIntent("elsewhere", "action.http", "{}", "planned", "[]")},
			{"mails_of_steps_match", "m-s", "its step mail", anIntent("mail", "action.send_email", "{}", "failed", "[]") + ";" + aMessage("t-one", "m-s", "'','','','r-5:mail:1:1','sent','accepted'")},
			{"messages_have_events", "m-s", "is sent", ""},
			{"messages_have_one_end", "m-s", "ended at 0", ""},
			{"one_message_per_step", "m-s", "one of 2 messages", aMessage("t-one", "m-t", "'','','','r-5:mail:1:1','pending',''")},
			{"leads_in_step_with_crms", "con/l-1", "neither dirty nor a problem", aConnection},
			{"connections_have_their_mapping", "con", "mapping version 1", ""},
			{"objects_have_events", "con", "connection.saved", ""},
			{"links_are_not_ahead", "con/l-1", "the lead has 1", "INSERT INTO crm_links VALUES ('t-one','con','l-1','r','','',7,1,'','',1)"},
			{"problems_have_a_reason", "p-1", "neither code nor message", "INSERT INTO crm_problems VALUES ('t-one','p-1','con','l-1','open','record','','','',1,1,1,'[]',1,1,0)"},
			{"credentials_are_sealed", "con", "another form", "UPDATE connections SET credentials=BYTES('plain')"},
			{"no_secret_in_the_open", "p-1", "a credential of a connection", "UPDATE connections SET credentials=SEALED; UPDATE crm_problems SET message='refused " + plantedCredential + "'"},
			{"secrets_are_digests", "k-1", "api_keys.digest", "INSERT INTO api_keys VALUES ('t-one','k-1','u','n','abcdefgh','in the clear','',1,1,0,0)"},
			{"no_secret_in_the_open", "e-1", "a key or token of ours", "UPDATE api_keys SET digest='" + account.Digest(plantedKey) + "'; INSERT INTO events (commit_epoch,tenant_id,id,at,type,lead_id,actor_kind,actor_id,actor_name,cause,data)" +
				` VALUES (0,'t-one','e-1',1,'lead.created','l-none','user','','','{}','{"key":"` + plantedKey + `"}')`},
			{"events_have_their_rows", "e-1", "of l-none, which is not there", ""},
			{"erased_events_are_empty", "e-1", "still has content", "UPDATE events SET erased_digest='" + strings.Repeat("a", 64) + "' WHERE id='e-1'"},
			{"erased_events_are_empty", "e-1", "keeps no hash", "UPDATE events SET erased_digest='x' WHERE id='e-1'"},
			{"no_secret_in_the_open", "x", "the hash of a password", "INSERT INTO settings VALUES ('t-one','x','$argon2id$v=19$m=1$c2FsdA$aGFzaA',1)"},
			{"no_secret_in_the_open", anyRow, "its row of the queue", aJob("mail.send", `{"tenant_id":"t-one","key":"`+plantedKey+`"}`)},
			{"batches_have_a_job", "b-1", "has no job", "INSERT INTO lead_batches VALUES ('t-one','b-1','queued',5,0,'{}','{}','','',1,1,0)"},
			{"batches_count_their_rows", "b-1", "processed 0 of 5", "UPDATE lead_batches SET status='finished'"},
			{"workflows_show_their_version", "w-1", "its latest is 0", "INSERT INTO workflows VALUES ('t-one','w-1','n','active',2,1,1,'{}','',1,1,0)"},
			{"rows_stay_in_their_tenant", "n-1", "belongs to tenant t-two", "INSERT INTO leads VALUES ('t-two'," + strings.Replace(aLead[1:], "l-1", "l-two", 1) + "; INSERT INTO notes VALUES ('t-one','n-1','l-two','b','','','',1,1,1,0)"},
			{"objects_have_events", "n-1", "note.added", ""},
			{"jobs_stay_in_their_tenant", anyRow, "m-two of messages, which belongs to tenant t-two", aMessage("t-two", "m-two", "'','','','','pending',''") + ";" + aJob("mail.send", `{"tenant_id":"t-one","message_id":"m-two"}`)},
			{"pending_recipients_have_messages", "c-1/r-1", "no message", "INSERT INTO campaign_recipients VALUES ('t-one','c-1','r-1','l','','a@b.example','a@b.example','pending','','','',1,1)"},
			{"ledger_states", "c-1/r-9", "is lost", "INSERT INTO campaign_recipients VALUES ('t-one','c-1','r-9','l','','','k','lost','','','',1,1)"},
			{"ended_campaigns_are_complete", "c-1", "1 of its recipients", aCampaign},
			{"count_of_runs", "runs:w:parked", "counted as 0", "DELETE FROM runs WHERE id<>'r-5'"},
			{"one_message_per_recipient", "c/y", "has 2 messages", aMessage("t-one", "m-1", "'c','y','','','pending',''") + ";" + aMessage("t-one", "m-2", "'c','y','','','pending',''")},
			{"one_message_per_address", "c", "2 messages for the address", "UPDATE messages SET address_key='a@b.example' WHERE campaign_id='c'"},
			{"messages_match_recipients", "m-1", "no row", "UPDATE messages SET campaign_id='c-1' WHERE id='m-1'"},
			{"recipients_match_messages", "c/x", "not there", "INSERT INTO campaign_recipients VALUES ('t-one','c','x','l','','','','pending','','','m',1,1)"},
			{"database_is_whole", anyRow, "", map[bool]string{true: "UPDATE pg_index SET indisvalid=false WHERE indexrelid='leads_by_email'::regclass"}[st.Postgres() != nil]}, // SQLite finds the row that is against a CHECK
		} {
			for text := range strings.SplitSeq(onEngine(st, c.sql), ";") {
				if text != "" {
					rawExec(t, st, text)
				}
			}
			covered[c.check] = true
			got := broken(t, st, c.check)
			numbers[got.Invariant] = true
			if !slices.ContainsFunc(got.Findings, func(f store.Finding) bool {
				return (f.ID == c.id || c.id == anyRow) && strings.Contains(f.Detail, c.detail) && f.Check == c.check && f.Invariant == got.Invariant
			}) {
				t.Errorf("%s does not name %s (%s): %v", c.check, c.id, c.detail, got.Findings)
			}
		}
		for _, name := range store.Checks() {
			if !covered[name] {
				t.Errorf("nothing here breaks %s: a check that was never seen to find anything may find nothing", name)
			}
		}
		for n := 1; n < len(store.Invariants); n++ {
			if !numbers[n] {
				t.Errorf("no check is of invariant %d", n)
			}
		}
	})
}

// TestCheck_KnowsEveryTableOfATenant: a table that is added is walked for tenants too.
func TestCheck_KnowsEveryTableOfATenant(t *testing.T) {
	st := storetest.SQLite(t)
	rows, err := st.SQLite().Query("SELECT m.name FROM sqlite_master m WHERE m.type='table' AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) c WHERE c.name='tenant_id')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	known := store.TenantTables()
	n := 0
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		n++
		if !slices.Contains(known, name) {
			t.Errorf("no check walks %s for its tenants", name)
		}
	}
	if rows.Err() != nil || n != len(known) {
		t.Errorf("%d tables have a tenant, %d are walked (%v)", n, len(known), rows.Err())
	}
}
