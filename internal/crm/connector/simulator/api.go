package simulator

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is what a route decided.
type answer struct {
	status int
	body   any
	header map[string]string
	keys   []string
}

func refuse(status int, code, field, message string) answer {
	return answer{status: status, body: map[string]any{"errors": []any{map[string]any{"code": code, "field": field, "message": message}}}}
}

func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	api := func(pattern, op string, h func(r *http.Request, body []byte) answer) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op, h) })
	}
	api("GET /api/{$}", "test", func(*http.Request, []byte) answer {
		return answer{status: 200, body: map[string]any{"account": s.opts.Account}}
	})
	api("GET /api/schema", "describe", s.describe)
	api("PUT /api/leads/{key}", "upsert", s.putOne)
	if !s.opts.NoBatch {
		api("POST /api/leads/batch", "batch", s.putMany)
	}
	api("GET /api/leads/{key}", "fetch", s.getOne)
	api("GET /api/leads", "changes", s.list)
	api("DELETE /api/leads/{key}", "forget", s.deleteOne)
	mux.HandleFunc("POST /oauth/token", s.token)
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /records/{id}", s.recordPage)
	return mux
}

// serve checks what every route checks, lets the injected faults act, and keeps the call.
func (s *Simulator) serve(w http.ResponseWriter, r *http.Request, op string, h func(*http.Request, []byte) answer) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err != nil {
		s.write(w, refuse(http.StatusRequestEntityTooLarge, "too_large", "", "the body is too large"))
		return
	}
	s.mu.Lock()
	s.counts[op]++
	fault := s.nextFault(op, s.counts[op])
	var a answer
	early := fault != nil && fault.before(body)
	if !early {
		if refused := s.admit(r); refused != nil {
			a = *refused
		} else {
			a = h(r, body)
		}
		if s.journal != nil {
			s.journal.flush()
		}
	}
	if !s.noKeep {
		s.calls = append(s.calls, Call{Op: op, Status: a.status, Header: r.Header.Clone(), Keys: a.keys, At: s.opts.Now()})
	}
	s.mu.Unlock()
	if fault != nil && fault.act(s, w, r, a) {
		return
	}
	s.write(w, a)
}

func (s *Simulator) write(w http.ResponseWriter, a answer) {
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body)
}

// window counts requests for the limits.
type window struct {
	second, day     int64
	inSecond, inDay int
}

// admit is authentication, rate and content type, as every service checks them.
func (s *Simulator) admit(r *http.Request) *answer {
	if !s.authorised(r) {
		a := refuse(http.StatusUnauthorized, "unauthorized", "", "the credentials are not accepted")
		return &a
	}
	now := s.opts.Now()
	if sec := now.Unix(); s.window.second != sec {
		s.window.second, s.window.inSecond = sec, 0
	}
	if day := now.Unix() / 86400; s.window.day != day {
		s.window.day, s.window.inDay = day, 0
	}
	s.window.inSecond++
	s.window.inDay++
	if s.opts.PerDay > 0 && s.window.inDay > s.opts.PerDay {
		a := refuse(http.StatusTooManyRequests, "daily_limit", "", "the daily limit is reached")
		a.header = map[string]string{"Retry-After": strconv.FormatInt((s.window.day+1)*86400-now.Unix(), 10)}
		return &a
	}
	if s.opts.PerSecond > 0 && s.window.inSecond > s.opts.PerSecond {
		a := refuse(http.StatusTooManyRequests, "rate_limit", "", "too many requests")
		a.header = map[string]string{"Retry-After": "1"}
		return &a
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/json" {
			a := refuse(http.StatusUnsupportedMediaType, "content_type", "", "send application/json")
			return &a
		}
	}
	return nil
}

func (s *Simulator) authorised(r *http.Request) bool {
	sent, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case s.opts.ClientID != "":
		until, known := s.tokens[sent]
		return isBearer && known && s.opts.Now().Before(until)
	case s.opts.APIKey != "":
		return isBearer && subtle.ConstantTimeCompare([]byte(sent), []byte(s.opts.APIKey)) == 1
	}
	return true
}

// token exchanges client credentials.
func (s *Simulator) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts["token"]++
	if !s.noKeep {
		s.calls = append(s.calls, Call{Op: "token", Header: r.Header.Clone(), At: s.opts.Now()})
	}
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if r.FormValue("grant_type") != "client_credentials" || s.opts.ClientID == "" || id != s.opts.ClientID || secret != s.opts.Secret {
		s.write(w, answer{status: http.StatusBadRequest, body: map[string]any{"error": "invalid_client"}})
		return
	}
	life := s.opts.TokenLife
	if life == 0 {
		life = time.Hour
	}
	t := fmt.Sprintf("token-%d", s.counts["token"])
	s.tokens[t] = s.opts.Now().Add(life)
	s.write(w, answer{status: 200, body: map[string]any{"access_token": t, "token_type": "bearer", "expires_in": int(life.Seconds())}})
}

// ExpireTokens makes every token handed out so far unknown.
func (s *Simulator) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (s *Simulator) describe(*http.Request, []byte) answer {
	if s.opts.Schema == nil {
		return refuse(http.StatusNotFound, "no_schema", "", "there is no schema")
	}
	return answer{status: 200, body: map[string]any{"fields": s.opts.Schema}}
}

func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return d.Decode(v)
}

// once answers a repeated Idempotency-Key as the first time, and refuses it for another body.
func (s *Simulator) once(r *http.Request, body []byte, do func() answer) answer {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return refuse(http.StatusBadRequest, "idempotency_key_missing", "", "send an Idempotency-Key")
	}
	sum := sha256.Sum256(append([]byte(r.URL.Path+"\n"), body...))
	digest := hex.EncodeToString(sum[:])
	if old, ok := s.replies[key]; ok {
		if old.digest != digest {
			return refuse(http.StatusUnprocessableEntity, "idempotency_key_reused", "", "this key was used for another body")
		}
		return answer{status: old.status, body: json.RawMessage(old.body)}
	}
	a := do()
	if a.status < 400 {
		if b, err := json.Marshal(a.body); err == nil {
			if len(s.replies) > 100_000 {
				clear(s.replies)
			}
			s.replies[key] = reply{digest, a.status, b}
		}
	}
	return a
}

func (s *Simulator) putOne(r *http.Request, body []byte) answer {
	key := r.PathValue("key")
	fields := map[string]any{}
	if err := decode(body, &fields); err != nil {
		return refuse(http.StatusBadRequest, "malformed", "", "the body is not a JSON object")
	}
	if inBody, ok := fields["external_id"]; ok && inBody != key {
		return refuse(http.StatusUnprocessableEntity, "key_mismatch", "external_id", "the key in the body is not that in the path")
	}
	return s.once(r, body, func() answer {
		rec, created, bad := s.upsert(key, fields, r)
		if bad != nil {
			status := http.StatusUnprocessableEntity
			if bad.code == "gone" {
				status = http.StatusGone
			}
			a := refuse(status, bad.code, bad.field, bad.message)
			a.keys = []string{key}
			return a
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		return answer{status: status, body: s.show(rec), keys: []string{key}}
	})
}

func (s *Simulator) show(r *Record) map[string]any {
	return map[string]any{"id": r.ID, "external_id": r.Key, "updated_at": r.UpdatedAt.Format(time.RFC3339Nano), "url": s.URL() + "/records/" + r.ID}
}

func (s *Simulator) putMany(r *http.Request, body []byte) answer {
	var in struct {
		Records []map[string]any `json:"records"`
	}
	if err := decode(body, &in); err != nil || len(in.Records) == 0 {
		return refuse(http.StatusBadRequest, "malformed", "records", "send {\"records\": [...]}")
	}
	if len(in.Records) > s.opts.MaxBatch {
		return refuse(http.StatusRequestEntityTooLarge, "batch_too_large", "records", fmt.Sprintf("send at most %d records", s.opts.MaxBatch))
	}
	keys := make([]string, len(in.Records))
	seen := map[string]bool{}
	for i, f := range in.Records {
		key, _ := f["external_id"].(string)
		if key == "" || seen[key] {
			return refuse(http.StatusBadRequest, "bad_key", "external_id", "each record needs a key of its own")
		}
		keys[i], seen[key] = key, true
	}
	a := s.once(r, body, func() answer {
		results := make([]any, len(in.Records))
		status := http.StatusOK
		for i, fields := range in.Records {
			rec, created, bad := s.upsert(keys[i], fields, r)
			if bad != nil {
				status = http.StatusMultiStatus
				word := "error"
				if bad.code == "gone" {
					word = "gone"
				}
				results[i] = map[string]any{"external_id": keys[i], "status": word, "code": bad.code, "field": bad.field, "message": bad.message}
				continue
			}
			m := s.show(rec)
			m["status"] = "updated"
			if created {
				m["status"] = "created"
			}
			results[i] = m
		}
		return answer{status: status, body: map[string]any{"results": results}}
	})
	a.keys = keys
	return a
}

type badRecord struct{ code, field, message string }

// upsert creates or updates by key: absent fields stay, "" clears.
func (s *Simulator) upsert(key string, fields map[string]any, r *http.Request) (rec *Record, created bool, bad *badRecord) {
	rec = s.records[key]
	if rec != nil && rec.Deleted {
		if rec.Fields != nil { // a purged one may be made anew
			return nil, false, &badRecord{"gone", "", "the record was deleted"}
		}
		rec = nil
	}
	if bad := s.check(fields, rec == nil); bad != nil {
		return nil, false, bad
	}
	if rec == nil {
		s.nextID++
		created = true
		rec = &Record{ID: fmt.Sprintf("rec-%06d", s.nextID), Key: key, Fields: map[string]any{}, CreatedAt: s.opts.Now().UTC()}
		s.records[key] = rec
	}
	for name, v := range fields {
		if name == "external_id" {
			continue
		}
		if v == "" || v == nil {
			delete(rec.Fields, name)
		} else {
			rec.Fields[name] = v
		}
	}
	rec.Writer = r.Header.Get("User-Agent")
	rec.Writes++
	s.touch(rec)
	return rec, created, nil
}

// check refuses what does not fit the schema, as a real service does.
func (s *Simulator) check(fields map[string]any, creating bool) *badRecord {
	if s.opts.Schema == nil {
		return nil
	}
	for name, v := range fields {
		i := slices.IndexFunc(s.opts.Schema, func(f fieldSpec) bool { return f.Name == name })
		if i < 0 {
			return &badRecord{"unknown_field", name, "there is no field " + name}
		}
		if bad := checkValue(s.opts.Schema[i], v); bad != nil {
			return bad
		}
	}
	for _, f := range s.opts.Schema {
		v, sent := fields[f.Name]
		if f.Required && ((creating && !sent) || (sent && (v == "" || v == nil))) {
			return &badRecord{"required", f.Name, f.Name + " is required"}
		}
	}
	return nil
}

func checkValue(f fieldSpec, v any) *badRecord {
	if v == nil || v == "" {
		return nil
	}
	ok := true
	switch f.Type {
	case "text", "string":
		text, is := v.(string)
		ok = is
		if is && f.MaxLen > 0 && len([]rune(text)) > f.MaxLen {
			return &badRecord{"too_long", f.Name, fmt.Sprintf("%s takes %d characters", f.Name, f.MaxLen)}
		}
		if is && len(f.Options) > 0 && !slices.Contains(f.Options, text) {
			return &badRecord{"unknown_option", f.Name, "that option does not exist"}
		}
	case "number":
		_, ok = v.(json.Number)
	case "bool":
		_, ok = v.(bool)
	case "list":
		_, ok = v.([]any)
	}
	if !ok {
		return &badRecord{"wrong_type", f.Name, f.Name + " is of type " + f.Type}
	}
	return nil
}

func (s *Simulator) getOne(r *http.Request, _ []byte) answer {
	rec := s.records[r.PathValue("key")]
	switch {
	case rec == nil:
		return refuse(http.StatusNotFound, "not_found", "", "there is no such record")
	case rec.Deleted:
		return refuse(http.StatusGone, "gone", "", "the record was deleted")
	}
	return answer{status: 200, body: s.full(rec)}
}

func (s *Simulator) full(r *Record) map[string]any {
	m := s.show(r)
	for k, v := range r.Fields {
		m[k] = v
	}
	if r.Deleted {
		m["deleted"] = true
	}
	return m
}

func (s *Simulator) deleteOne(r *http.Request, _ []byte) answer {
	rec := s.records[r.PathValue("key")]
	if rec == nil {
		return refuse(http.StatusNotFound, "not_found", "", "there is no such record")
	}
	rec.Deleted, rec.Fields = true, map[string]any{}
	s.touch(rec)
	return answer{status: http.StatusNoContent}
}

// list is the change feed: by sequence, so that equal stamps lose nothing.
func (s *Simulator) list(r *http.Request, _ []byte) answer {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 1000 {
		return refuse(http.StatusBadRequest, "limit", "limit", "send a limit of 1 to 1000")
	}
	var after int64
	var since time.Time
	if c := q.Get("cursor"); c != "" {
		if _, err := fmt.Sscanf(c, "seq-%d", &after); err != nil {
			return refuse(http.StatusGone, "cursor_expired", "cursor", "this cursor is no longer known")
		}
	} else if since, err = time.Parse(time.RFC3339Nano, q.Get("updated_since")); err != nil {
		return refuse(http.StatusBadRequest, "updated_since", "updated_since", "send a time")
	}
	var found []*Record
	for _, rec := range s.records {
		if rec.Seq > after && !rec.UpdatedAt.Before(since) {
			found = append(found, rec)
		}
	}
	slices.SortFunc(found, func(a, b *Record) int { return int(a.Seq - b.Seq) })
	next := ""
	if len(found) > limit {
		found = found[:limit]
		next = fmt.Sprintf("seq-%d", found[limit-1].Seq)
	}
	records := make([]any, len(found))
	for i, rec := range found {
		records[i] = s.full(rec)
	}
	return answer{status: 200, body: map[string]any{"records": records, "next_cursor": next}}
}
