package workflow

import (
	"embed"
	"encoding/json"
	"strings"
)

// Template is a definition to start from.
type Template struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Definition  json.RawMessage `json:"definition"`
}

//go:embed templates/*.json
var templateFiles embed.FS

// templateNames is the order in which templates are offered.
var templateNames = []string{"welcome-email", "daily-report", "tag-high-value-leads", "auto-campaign"}

// Templates are the definitions that a tenant can start from; each passes the static check.
func Templates() []Template {
	out := make([]Template, 0, len(templateNames))
	for _, id := range templateNames {
		raw := file(id)
		var head struct{ Name, Description string }
		if err := json.Unmarshal(raw, &head); err != nil {
			panic("workflow: template " + id + ": " + err.Error()) // compiled in and tested
		}
		out = append(out, Template{ID: id, Name: head.Name, Description: head.Description, Definition: raw})
	}
	return out
}

func file(id string) json.RawMessage {
	b, err := templateFiles.ReadFile("templates/" + id + ".json")
	if err != nil {
		panic("workflow: " + err.Error()) // compiled in
	}
	return json.RawMessage(strings.TrimSpace(string(b)))
}
