package httpapi

import (
	"strconv"
	"strings"

	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// etag is a resource's version as an ETag.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ifMatch reads an If-Match header: absent or * accepts any version; a tag that is none of ours accepts nothing.
func ifMatch(header string) service.IfMatch {
	header = strings.TrimSpace(header)
	if header == "" || header == "*" {
		return service.IfMatch{}
	}
	m := service.IfMatch{Versions: []int64{}}
	for _, t := range strings.Split(header, ",") {
		t = strings.Trim(strings.TrimPrefix(strings.TrimSpace(t), "W/"), `"`)
		if v, err := strconv.ParseInt(t, 10, 64); err == nil {
			m.Versions = append(m.Versions, v)
		}
	}
	return m
}

// showCurrent puts the resource into a 412 as the API shows it.
func (a *API) showCurrent(err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.KindStale {
		return err
	}
	switch v := f.Extra["current"].(type) {
	case *lead.Lead:
		return fault.Stale(viewLead(v))
	case *store.Note:
		return fault.Stale(viewNote(v))
	case *store.Task:
		return fault.Stale(a.viewTask(v))
	case *store.Field:
		return fault.Stale(viewField(v))
	}
	return err
}
