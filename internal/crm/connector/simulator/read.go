package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

func (s *Simulator) describe(*http.Request, []byte) answer {
	if s.opts.Schema == nil {
		return refuse(http.StatusNotFound, "no_schema", "", "there is no schema")
	}
	return answer{status: 200, body: map[string]any{"fields": s.opts.Schema}}
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

func (s *Simulator) show(r *Record) map[string]any {
	return map[string]any{"id": r.ID, "external_id": r.Key, "updated_at": r.UpdatedAt.Format(time.RFC3339Nano), "url": s.URL() + "/records/" + r.ID}
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
