package store

// checks lists every check by the invariant that it belongs to. Nothing here may read a tenant-sized table once per row
// of another: each look-up is served by a key or an index.
var checks = []check{
	{1, "database_is_whole", "", "", "", (*checking).whole},

	{2, "leads_were_created", "leads", `SELECT l.tenant_id, l.id, 'has no event of its creation' FROM leads l
		WHERE (SELECT 1 FROM events e WHERE e.tenant_id=l.tenant_id AND e.lead_id=l.id AND e.type='lead.created' ORDER BY e.id LIMIT 1) IS NULL`, "", nil},
	{2, "changes_of_leads_have_events", "leads", `SELECT l.tenant_id, l.id, 'is at version ' || l.version || ', and no event is of the moment of its last change' FROM leads l
		WHERE (SELECT 1 FROM events e WHERE e.tenant_id=l.tenant_id AND e.lead_id=l.id AND e.at=l.updated_at ORDER BY e.id DESC LIMIT 1) IS NULL`, "", nil},
	{2, "runs_have_events", "runs", `SELECT r.tenant_id, r.id, 'is ' || r.status || ' and lacks its event ' || CASE WHEN ` + noEvent("r", "'run.started'") + ` THEN 'run.started' ELSE 'of its end' END FROM runs r
		WHERE ` + noEvent("r", "'run.started'") + ` OR (r.status='finished' AND ` + noEvent("r", "'run.finished'") + `) OR (r.status='cancelled' AND ` + noEvent("r", "'run.cancelled'") + `)`, "", nil},
	{2, "messages_have_events", "messages", `SELECT m.tenant_id, m.id, 'is ' || m.state || ' and has no event that says so' FROM messages m
		WHERE m.state<>'pending' AND m.kind<>'test' AND NOT EXISTS (SELECT 1 FROM events e WHERE e.tenant_id=m.tenant_id AND e.subject_id=m.id AND e.type='email.' || m.state)`, "", nil},
	{2, "objects_have_events", "", "", "", (*checking).objectsHaveEvents},
	{2, "events_have_their_rows", "events", `SELECT e.tenant_id, e.id, 'says ' || e.type || ' of ' || COALESCE(e.lead_id, e.subject_id, '') || ', which is not there' FROM events e
		LEFT JOIN leads l ON e.type='lead.created' AND l.tenant_id=e.tenant_id AND l.id=e.lead_id
		LEFT JOIN runs r ON e.type='run.started' AND r.tenant_id=e.tenant_id AND r.id=e.subject_id
		WHERE e.type IN ('lead.created','run.started') AND e.erased_digest IS NULL AND l.id IS NULL AND r.id IS NULL`, "", nil},
	{2, "batches_have_a_job", "lead_batches", "", "", (*checking).batchesHaveJobs},

	{3, "runs_move", "", "", "", (*checking).runsMove},
	{3, "timers_have_runs", "timers", `SELECT t.tenant_id, t.run_id, 'has a timer and is ' || COALESCE(r.status,'not there') FROM timers t
		LEFT JOIN runs r ON r.tenant_id=t.tenant_id AND r.id=t.run_id WHERE r.id IS NULL OR r.finished_at>0`, "", nil},

	{4, "ledger_states", "campaign_recipients", `SELECT tenant_id, campaign_id || '/' || id, 'is ' || state || ' for the reason "' || reason || '"' FROM campaign_recipients
		WHERE state NOT IN ('pending','sent','skipped','failed','unknown') OR (state<>'pending' AND reason='')`, "", nil},
	{4, "messages_have_one_end", "messages", `SELECT tenant_id, id, 'is ' || state || ' for the reason "' || reason || '", at the stage "' || stage || '", ended at ' || final_at FROM messages
		WHERE state NOT IN ('pending','sent','skipped','failed','unknown') OR (state='pending') = (final_at>0) OR (state<>'pending' AND (reason='' OR stage<>''))`, "", nil},
	{4, "recipients_match_messages", "campaign_recipients", `SELECT r.tenant_id, r.campaign_id || '/' || r.id, 'is ' || r.state || ' while its message is ' || COALESCE(m.state,'not there')
		FROM campaign_recipients r LEFT JOIN messages m ON m.tenant_id=r.tenant_id AND m.id=r.message_id WHERE r.message_id<>'' AND (m.state IS NULL OR m.state<>r.state)`, "", nil},
	{4, "messages_match_recipients", "messages", `SELECT m.tenant_id, m.id, 'is of the recipient ' || m.campaign_id || '/' || m.recipient_id || ', who has ' || CASE WHEN r.id IS NULL THEN 'no row' ELSE 'the message "' || r.message_id || '"' END
		FROM messages m JOIN campaigns c ON c.tenant_id=m.tenant_id AND c.id=m.campaign_id
		LEFT JOIN campaign_recipients r ON r.tenant_id=m.tenant_id AND r.campaign_id=m.campaign_id AND r.id=m.recipient_id
		WHERE m.campaign_id<>'' AND m.recipient_id<>'' AND (r.id IS NULL OR r.message_id<>m.id)`, "", nil},
	{4, "pending_recipients_have_messages", "campaign_recipients", `SELECT tenant_id, campaign_id || '/' || id, 'is pending and has no message that could be sent'
		FROM campaign_recipients WHERE state='pending' AND message_id=''`, "", nil},
	{4, "ended_campaigns_are_complete", "campaigns", `SELECT c.tenant_id, c.id, 'is ' || c.state || ' while ' || COUNT(*) || ' of its recipients are pending'
		FROM campaigns c JOIN campaign_recipients r ON r.tenant_id=c.tenant_id AND r.campaign_id=c.id AND r.state='pending' WHERE c.state IN ('sent','cancelled') GROUP BY c.tenant_id, c.id, c.state`, "", nil},

	{5, "one_message_per_recipient", "messages", `SELECT tenant_id, campaign_id || '/' || recipient_id, 'has ' || COUNT(*) || ' messages of one campaign'
		FROM messages WHERE campaign_id<>'' AND recipient_id<>'' GROUP BY tenant_id, campaign_id, recipient_id HAVING COUNT(*)>1`, "", nil},
	{5, "one_message_per_address", "messages", `SELECT tenant_id, campaign_id, 'has ' || COUNT(*) || ' messages for the address of the message ' || MIN(id)
		FROM messages WHERE campaign_id<>'' AND address_key<>'' GROUP BY tenant_id, campaign_id, address_key HAVING COUNT(*)>1`, "", nil},
	{5, "one_message_per_step", "messages", `SELECT tenant_id, MIN(id), 'is one of ' || COUNT(*) || ' messages of the step ' || step_key
		FROM messages WHERE step_key<>'' GROUP BY tenant_id, step_key HAVING COUNT(*)>1`, "", nil},
	{5, "one_effect_per_step", "step_intents", "", "", (*checking).oneEffect},
	{5, "effects_have_an_end", "step_intents", `SELECT i.tenant_id, i.run_id, 'has left the step ' || i.node || ' while its effect is ' || i.state FROM step_intents i
		JOIN runs r ON r.tenant_id=i.tenant_id AND r.id=i.run_id WHERE (i.state='planned' AND r.finished_at>0) OR (i.state='started' AND r.status='finished')
		OR (i.state IN ('planned','started') AND r.finished_at=0 AND (i.node<>r.node OR i.generation<>r.generation))`, "", nil},
	{5, "mails_of_steps_match", "step_intents", `SELECT i.tenant_id, m.id, 'is sent while its step ' || i.node || ' of run ' || i.run_id || ' is ' || i.state FROM step_intents i
		JOIN messages m ON m.tenant_id=i.tenant_id AND m.step_key<>'' AND m.step_key=i.run_id || ':' || i.node || ':' || i.visit || ':' || i.generation
		WHERE i.effect='action.send_email' AND m.state='sent' AND i.state<>'done'`, "", nil},
	{5, "unknown_effects_are_shown", "step_intents", `SELECT i.tenant_id, i.run_id, 'has a step (' || i.node || ') whose effect is unknown while the run is ' || r.status
		FROM step_intents i JOIN runs r ON r.tenant_id=i.tenant_id AND r.id=i.run_id WHERE i.state='unknown' AND r.status='running'
		AND i.generation=r.generation AND i.node=r.node`, "", nil},

	{6, "leads_in_step_with_crms", "crm_links", `SELECT l.tenant_id, c.id || '/' || l.id, 'has the version ' || l.version || ', ' || COALESCE(k.synced_version,0) || ' was sent, and it is neither dirty nor a problem'
		FROM connections c JOIN leads l ON l.tenant_id=c.tenant_id AND l.deleted_at=0
		LEFT JOIN crm_links k ON k.tenant_id=c.tenant_id AND k.connection_id=c.id AND k.lead_id=l.id
		WHERE c.enabled=1 AND c.marked_through IS NULL AND COALESCE(k.synced_version,0) < l.version
		AND NOT EXISTS (SELECT 1 FROM crm_dirty d WHERE d.tenant_id=c.tenant_id AND d.connection_id=c.id AND d.lead_id=l.id)
		AND NOT EXISTS (SELECT 1 FROM crm_problems p WHERE p.tenant_id=c.tenant_id AND p.connection_id=c.id AND p.lead_id=l.id AND p.state='open')`, "", nil},
	{6, "links_are_not_ahead", "crm_links", `SELECT k.tenant_id, k.connection_id || '/' || k.lead_id, 'version ' || k.synced_version || ' was sent, the lead has ' || l.version
		FROM crm_links k JOIN leads l ON l.tenant_id=k.tenant_id AND l.id=k.lead_id WHERE k.synced_version > l.version`, "", nil},
	{6, "problems_have_a_reason", "crm_problems", `SELECT tenant_id, id, 'is ' || state || ' and says neither code nor message' FROM crm_problems WHERE code='' AND message=''`, "", nil},

	{7, "rows_have_a_tenant", "", "", "", (*checking).rowsHaveTenants},
	{7, "rows_stay_in_their_tenant", "", "", "", (*checking).rowsStayInTenants},
	{7, "jobs_stay_in_their_tenant", "", "", "", (*checking).jobsStayInTenants},

	{8, "event_chain", "events", "", "", func(c *checking) (err error) { c.out, err = c.verifyChain(c.in, findingsPerCheck); return err }},
	{8, "event_chain_complete", "event_blocks", `SELECT e.tenant_id, 'events', 'of ' || e.n || ' events before the last seal ' || COALESCE(b.n,0) || ' are in a block'
		FROM (SELECT tenant_id, COUNT(*) AS n FROM events WHERE commit_order < (SELECT commit_order FROM seal_state) GROUP BY tenant_id) e
		LEFT JOIN (SELECT tenant_id, SUM(events) AS n FROM event_blocks GROUP BY tenant_id) b ON b.tenant_id = e.tenant_id
		WHERE e.n <> COALESCE(b.n,0)`,
		`SELECT e.tenant_id, 'events', 'of ' || e.n || ' events before the last seal ' || COALESCE(b.n,0) || ' are in a block'
		FROM (SELECT tenant_id, COUNT(*) AS n FROM events WHERE (commit_epoch, commit_order) < (SELECT commit_epoch, commit_order FROM seal_state) GROUP BY tenant_id) e
		LEFT JOIN (SELECT tenant_id, SUM(events) AS n FROM event_blocks GROUP BY tenant_id) b ON b.tenant_id = e.tenant_id
		WHERE e.n <> COALESCE(b.n,0)`, nil},
	{8, "erased_events_are_empty", "events", `SELECT tenant_id, id, CASE WHEN LENGTH(erased_digest)<>64 THEN 'is erased and keeps no hash' ELSE 'is erased and still has content, which its hash does not prove' END FROM events
		WHERE erased_digest IS NOT NULL AND erased_digest<>'' AND (LENGTH(erased_digest)<>64 OR COALESCE(data,'')<>'' OR COALESCE(changes,'')<>'')`, "", nil},

	{9, "score_is_the_ledger", "leads", `SELECT l.tenant_id, l.id, 'has the score ' || l.score || ', its ledger sums up to ' || COALESCE(s.points,0)
		FROM leads l LEFT JOIN (SELECT tenant_id, lead_id, SUM(points) AS points FROM score_ledger GROUP BY tenant_id, lead_id) s
		ON s.tenant_id=l.tenant_id AND s.lead_id=l.id WHERE l.deleted_at=0 AND l.score <> COALESCE(s.points,0)`, "", nil},
	{9, "count_of_leads", "leads", counted("leads", "SELECT tenant_id, COUNT(*) AS n FROM leads WHERE deleted_at=0 GROUP BY tenant_id"), "", nil},
	{9, "count_of_users", "users", counted("users", "SELECT tenant_id, COUNT(*) AS n FROM users GROUP BY tenant_id"), "", nil},
	{9, "count_of_tenants", "tenants", counted("tenants", "SELECT 'default' AS tenant_id, COUNT(*) AS n FROM tenants HAVING COUNT(*)>0"), "", nil},
	{9, "count_of_tags", "lead_tags", `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
		SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'tag:%'
		UNION ALL SELECT tenant_id, 'tag:' || tag_folded, 0, 1 FROM lead_tags) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`, "", nil},
	{9, "counts_of_lists", "leads", `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
		SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'status:%' OR counter LIKE 'source:%' OR counter LIKE 'owner:%'
		UNION ALL SELECT tenant_id, 'status:' || status, 0, COUNT(*) FROM leads WHERE deleted_at=0 GROUP BY tenant_id, status
		UNION ALL SELECT tenant_id, 'source:' || source_folded, 0, COUNT(*) FROM leads WHERE deleted_at=0 AND source_folded<>'' GROUP BY tenant_id, source_folded
		UNION ALL SELECT tenant_id, 'owner:' || owner_id, 0, COUNT(*) FROM leads WHERE deleted_at=0 AND owner_id<>'' GROUP BY tenant_id, owner_id
		) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`, "", nil},
	{9, "figures_of_leads", "leads", checkFigures, "", nil},
	{9, "stages_of_leads", "lead_stages", checkStages, "", nil},
	{9, "count_of_runs", "runs", `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
		SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'runs:%'
		UNION ALL SELECT tenant_id, 'runs:' || workflow_id || ':' || status, 0, 1 FROM runs) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`, "", nil},
	{9, "steps_of_runs", "runs", `SELECT r.tenant_id, r.id, 'counts ' || r.steps || ' steps, its rows are ' || COALESCE(s.n,0) FROM runs r
		LEFT JOIN (SELECT tenant_id, run_id, COUNT(*) AS n FROM run_steps GROUP BY tenant_id, run_id) s ON s.tenant_id=r.tenant_id AND s.run_id=r.id WHERE r.steps <> COALESCE(s.n,0)`, "", nil},
	{9, "workflows_show_their_version", "workflows", `SELECT w.tenant_id, w.id, 'is at version ' || w.version || ', its latest is ' || COALESCE(v.n,0) FROM workflows w
		LEFT JOIN (SELECT tenant_id, workflow_id, MAX(version) AS n FROM workflow_versions GROUP BY tenant_id, workflow_id) v ON v.tenant_id=w.tenant_id AND v.workflow_id=w.id WHERE w.version <> COALESCE(v.n,0)`, "", nil},
	{9, "connections_have_their_mapping", "connections", `SELECT c.tenant_id, c.id, 'is at mapping version ' || c.mapping_version || ', which is not there' FROM connections c
		LEFT JOIN mappings m ON m.tenant_id=c.tenant_id AND m.connection_id=c.id AND m.version=c.mapping_version WHERE m.version IS NULL`, "", nil},
	{9, "batches_count_their_rows", "lead_batches", `SELECT tenant_id, id, 'is ' || status || ' and has processed ' || processed || ' of ' || total || ' rows' FROM lead_batches
		WHERE processed > total OR (status='finished' AND processed <> total)`, "", nil},
	{9, "identities_have_leads", "lead_identities", `SELECT i.tenant_id, i.lead_id, 'is recognised by its ' || i.kind || ' but is no live lead'
		FROM lead_identities i LEFT JOIN leads l ON l.tenant_id=i.tenant_id AND l.id=i.lead_id AND l.deleted_at=0 WHERE i.live=1 AND l.id IS NULL`, "", nil},
	{9, "identities_follow_the_rules", "", "", "", (*checking).identitiesFollowRules},
	{9, "leads_show_what_they_hold", "", "", "", (*checking).leadsShowWhatTheyHold},
	{9, "words_are_those_of_leads", "lead_words", "", "", (*checking).wordsOfLeads},
	{9, "tags_are_those_of_leads", "lead_tags", "", "", (*checking).tagsOfLeads},

	{10, "credentials_are_sealed", "connections", "", "", (*checking).credentialsAreSealed},
	{10, "secrets_are_digests", "", "", "", (*checking).secretsAreDigests},
	{10, "no_secret_in_the_open", "", "", "", (*checking).noSecretInTheOpen},
}

// noEvent is true when the row under the alias is the subject of no event of the type.
func noEvent(alias, typ string) string {
	return `NOT EXISTS (SELECT 1 FROM events e WHERE e.tenant_id=` + alias + `.tenant_id AND e.subject_id=` + alias + `.id AND e.type=` + typ + `)`
}

// counted compares a maintained total with its rows.
func counted(counter, rows string) string {
	return `SELECT t.tenant_id, '` + counter + `', 'are counted as ' || COALESCE(c.n,0) || ', their rows are ' || COALESCE(k.n,0) FROM (
		SELECT tenant_id FROM tenant_counters WHERE counter='` + counter + `' UNION SELECT tenant_id FROM (` + rows + `) AS any_row) AS t
		LEFT JOIN (SELECT tenant_id, SUM(n) AS n FROM tenant_counters WHERE counter='` + counter + `' GROUP BY tenant_id) AS c ON c.tenant_id=t.tenant_id
		LEFT JOIN (` + rows + `) AS k ON k.tenant_id=t.tenant_id WHERE COALESCE(c.n,0) <> COALESCE(k.n,0)`
}
