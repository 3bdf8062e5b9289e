package action

import (
	"strings"
	"unicode/utf8"

	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

func checkTags(tag string, tags []string, path string) (problems []fault.Field) {
	if tag == "" && len(tags) == 0 {
		problems = append(problems, missing(path+".tag", "name the tag"))
	}
	for _, t := range allTags(tag, tags) {
		if strings.TrimSpace(t) == "" || utf8.RuneCountInString(t) > 64 {
			problems = append(problems, fault.Field{Path: path + ".tags", Code: "bad_tag", Message: "a tag has 1 to 64 characters"})
		}
	}
	return problems
}

func allTags(tag string, tags []string) []string {
	if tag == "" {
		return tags
	}
	return append([]string{tag}, tags...)
}

type addTag struct {
	Tag  string   `json:"tag" doc:"One tag."`
	Tags []string `json:"tags" doc:"Several tags."`
}

func (c *addTag) check(path string) []fault.Field { return checkTags(c.Tag, c.Tags, path) }

// Writes names the field that it changes.
func (c *addTag) Writes() string { return "tags" }

// Do implements workflow.Action.
func (c *addTag) Do(w workflow.World) (workflow.Result, error) {
	tags := allTags(c.Tag, c.Tags)
	changed, err := w.ChangeTags(tags, nil)
	return workflow.Result{Output: map[string]any{"tags": tags, "changed": changed}}, err
}

type removeTag struct {
	Tag  string   `json:"tag" doc:"One tag."`
	Tags []string `json:"tags" doc:"Several tags."`
}

func (c *removeTag) check(path string) []fault.Field { return checkTags(c.Tag, c.Tags, path) }

// Writes names the field that it changes.
func (c *removeTag) Writes() string { return "tags" }

// Do implements workflow.Action.
func (c *removeTag) Do(w workflow.World) (workflow.Result, error) {
	tags := allTags(c.Tag, c.Tags)
	changed, err := w.ChangeTags(nil, tags)
	return workflow.Result{Output: map[string]any{"tags": tags, "changed": changed}}, err
}
