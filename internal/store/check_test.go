package store_test

import (
	"strings"
	"testing"

	"leadloom/internal/event"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// TestCheck_FindsWhatIsBroken breaks each invariant by hand, as no code of ours can, and wants it named with its row.
func TestCheck_FindsWhatIsBroken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		if err := queue.MigrateUp(t.Context(), queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres()}); err != nil {
			t.Fatal(err)
		}
		for _, name := range store.Checks() {
			if fs := findings(t, st, name); len(fs) != 0 {
				t.Fatalf("%s on an empty database: %v", name, fs)
			}
		}
		run := func(id, status, phase string) string {
			return "INSERT INTO runs (tenant_id,id,workflow_id,version,lead_id,trigger_id,event_id,status,outcome,node,phase,steps,visits,generation,turn,context,reason,depth,path,started_at,updated_at,finished_at)" +
				" VALUES ('t-one','" + id + "','w',1,'l','','','" + status + "','','n','" + phase + "',0,'{}',1,1,'{}','',0,'[]',1,1,0)"
		}
		covered := map[string]bool{}
		appendEvents(t, st, "t-chain", 3, event.UserLogin)
		sealExactly(t, st, 3)
		for _, c := range []struct{ check, id, detail, sql string }{
			{"event_chain", "block 1", "was changed after it was sealed", "UPDATE events SET subject_id='forged' WHERE tenant_id='t-chain' AND subject_id='s-1'"},
			{"event_chain", "block 1", "sealed with 3 events and has 2", "DELETE FROM events WHERE tenant_id='t-chain' AND subject_id='s-2'"},
			{"event_chain_complete", "events", "of 2 events before the last seal 3", "UPDATE seal_state SET sealed_at=sealed_at"},
			{"count_of_leads", "leads", "counted as 7", "INSERT INTO tenant_counters VALUES ('t-one','leads',0,7)"},
			{"count_of_users", "users", "counted as 2", "INSERT INTO tenant_counters VALUES ('t-one','users',0,2)"},
			{"count_of_tags", "tag:hot", "its rows are 1", "INSERT INTO lead_tags VALUES ('t-one','hot',1,'l')"},
			{"identities_have_leads", "gone", "e-mail", "INSERT INTO lead_identities VALUES ('t-one','gone','e-mail','a@b.example',1)"},
			{"score_is_the_ledger", "l-1", "score 5", "INSERT INTO leads VALUES ('t-one','l-1','','','','','','','','','','','new',5,'','[]','{}','','','','',1,1,1,0,'')"},
			{"runs_move", "r-1", "0 jobs", run("r-1", "running", "")},
			{"unknown_effects_are_shown", "r-1", "effect is unknown while the run is running", "INSERT INTO step_intents VALUES ('t-one','r-1','n',1,1,'http','','','unknown',1,'[]','',1,1)"},
			{"runs_move", "r-2", "0 timers", run("r-2", "waiting", "wait")},
			{"runs_move", "r-3", "nobody", run("r-3", "waiting", "outside")},
			{"runs_move", "r-4", "held", run("r-4", "held", "")},
			{"runs_move", "r-5", "reason", run("r-5", "parked", "")},
			{"leads_in_step_with_crms", "con/l-1", "neither dirty nor a problem", "INSERT INTO connections (tenant_id,id,type,name,api_url,settings,credentials_digest,credentials_hint,enabled,state,state_code,state_reason,state_until,failures,mapping_version,quota_key,schema_hash,account,peer,marked_through,version,created_at,updated_at,saved_at,tested_at,synced_at)" +
				" VALUES ('t-one','con','generic','c','','{}','','',1,'ok','','',0,0,1,'','','','',NULL,1,1,1,1,1,1)"},
			{"links_are_not_ahead", "con/l-1", "the lead has 1", "INSERT INTO crm_links VALUES ('t-one','con','l-1','r','','',7,1,'','',1)"},
			{"pending_recipients_have_messages", "c-1/r-1", "no message", "INSERT INTO campaign_recipients VALUES ('t-one','c-1','r-1','l','','a@b.example','a@b.example','pending','','','',1,1)"},
			{"sent_campaigns_are_complete", "c-1", "1 of its recipients", "INSERT INTO campaigns (tenant_id,id,name,kind,state,hold,hold_text,hold_since_at,topic,audience,content,from_address,reply_to,scheduled_at,per_minute,missing,prepared,version,created_at,updated_at,started_at,finished_at)" +
				" VALUES ('t-one','c-1','c','broadcast','sent','','',0,'','{}','{}','','',0,0,'empty','done',1,1,1,1,1)"},
			{"count_of_runs", "runs:w:parked", "counted as 0", "DELETE FROM runs WHERE id<>'r-5'"},
			{"one_message_per_recipient", "c/y", "has 2 messages", "INSERT INTO messages (tenant_id,id,header_id,kind,campaign_id,recipient_id,lead_id,step_key,to_name,address,address_key,from_address,reply_to,subject,html,text,auto,state,reason,detail,stage,claim,claim_until_at,attempts,due_at,queued_at,final_at,smtp_code,enhanced,size)" +
				" VALUES ('t-one','m-1','h-1','','c','y','','','','','','','','','','',0,'pending','','','','',0,0,0,0,0,0,'',0),('t-one','m-2','h-2','','c','y','','','','','','','','','','',0,'pending','','','','',0,0,0,0,0,0,'',0)"},
			{"recipients_match_messages", "c/x", "not there", "INSERT INTO campaign_recipients VALUES ('t-one','c','x','l','','','','pending','','','m',1,1)"},
		} {
			rawExec(t, st, c.sql)
			found := false
			covered[c.check] = true
			for _, f := range findings(t, st, c.check) {
				found = found || (f.Tenant == "t-one" || f.Tenant == "t-chain") && f.ID == c.id && strings.Contains(f.Detail, c.detail) && f.Check == c.check
			}
			if !found {
				t.Errorf("%s does not name %s (%s): %v", c.check, c.id, c.detail, findings(t, st, c.check))
			}
		}
		for _, name := range store.Checks() {
			if !covered[name] {
				t.Errorf("nothing here breaks %s: a check that was never seen to find anything may find nothing", name)
			}
		}
	})
}
