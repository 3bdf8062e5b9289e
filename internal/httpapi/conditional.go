package httpapi

import (
	"strconv"
	"strings"

	"leadloom/internal/service"
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
