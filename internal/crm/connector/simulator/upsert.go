package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
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
