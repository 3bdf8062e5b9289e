package action

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"

	"leadloom/internal/fault"
	"leadloom/internal/outbound"
	"leadloom/internal/workflow"
)

type httpCall struct {
	Method    string            `json:"method" doc:"GET, POST, PUT, PATCH or DELETE; POST when absent."`
	URL       string            `json:"url" doc:"An https address; its path and query may hold merge fields."`
	Headers   map[string]string `json:"headers" doc:"Further headers; no credentials."`
	Body      json.RawMessage   `json:"body" doc:"Any JSON; texts in it may hold merge fields."`
	Save      map[string]string `json:"save" doc:"Variable to path in the reply: {\"call_id\":\"$.id\"}."`
	Timeout   int64             `json:"timeout_seconds" doc:"1 to 30; 10 when absent."`
	OnUnknown string            `json:"on_unknown" doc:"When the call was cut off: park (default), assume_done or repeat."`
	url       *workflow.Text
	headers   map[string]*workflow.Text
	body      *bodyText
}

var (
	methods    = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	savePath   = regexp.MustCompile(`^\$(\.[A-Za-z0-9_-]+|\[[0-9]{1,4}\])*$`)
	saveName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	headerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	secretly   = regexp.MustCompile(`(?i)authorization|cookie|token|secret|api-?key|password`)
)

func (c *httpCall) check(path string) (problems []fault.Field) {
	add := func(key, code, message string) {
		problems = append(problems, fault.Field{Path: path + "." + key, Code: code, Message: message})
	}
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	if c.Method = strings.ToUpper(c.Method); !slices.Contains(methods, c.Method) {
		add("method", "unknown_value", "use GET, POST, PUT, PATCH or DELETE")
	}
	c.url = text(c.URL, path+".url", &problems)
	u, err := url.Parse(strings.Split(c.URL, "{{")[0])
	switch {
	case c.URL == "":
		add("url", "required", "write the address to call")
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || !fixedHost(c.URL):
		add("url", "bad_url", "write a full address such as https://example.com/path; only path and query may hold merge fields")
	case u.User != nil:
		add("url", "secret_in_definition", "no user or password in an address")
	}
	c.headers = map[string]*workflow.Text{}
	for _, name := range keys(c.Headers) {
		switch {
		case !headerName.MatchString(name):
			add("headers."+name, "bad_header", "a header's name is letters, digits and hyphens")
		case !outbound.HeaderAllowed(name) || strings.EqualFold(name, "Idempotency-Key"):
			add("headers."+name, "not_allowed", "this header is set by the server itself")
		case secretly.MatchString(name):
			add("headers."+name, "secret_in_definition", "definitions are shown to everybody who may read workflows; credentials do not belong here")
		}
		c.headers[name] = text(c.Headers[name], path+".headers."+name, &problems)
	}
	if len(c.Body) > 64<<10 {
		add("body", "too_large", "a body is at most 64 KiB")
	} else if len(c.Body) > 0 {
		c.body = parseBody(c.Body, path+".body", &problems)
	}
	for _, name := range keys(c.Save) {
		if !saveName.MatchString(name) || !savePath.MatchString(c.Save[name]) {
			add("save."+name, "bad_path", `write a variable in lower case and a path such as "$.id" or "$.items[0].name"`)
		}
	}
	if c.Timeout < 0 || c.Timeout > 30 {
		add("timeout_seconds", "out_of_range", "wait 1 to 30 seconds")
	}
	if !slices.Contains([]string{"", "park", "assume_done", "repeat"}, c.OnUnknown) {
		add("on_unknown", "unknown_value", "write park, assume_done or repeat")
	}
	return problems
}

// fixedHost reports that no merge field can change which server is called.
func fixedHost(address string) bool {
	_, rest, _ := strings.Cut(address, "://")
	if end := strings.IndexAny(rest, `/?#\`); end >= 0 {
		rest = rest[:end]
	}
	return !strings.Contains(rest, "{{")
}

// Do implements workflow.Action.
func (c *httpCall) Do(w workflow.World) (workflow.Result, error) {
	address, err := w.Render(c.url, workflow.EscapeURL)
	if err != nil {
		return workflow.Result{}, err
	}
	call := workflow.Call{Method: c.Method, URL: address, Save: c.Save, Timeout: c.Timeout, OnUnknown: c.OnUnknown}
	if call.Timeout == 0 {
		call.Timeout = 10
	}
	if len(c.headers) > 0 {
		call.Headers = map[string]string{}
	}
	for name, t := range c.headers {
		v, err := w.Render(t, oneLine)
		if err != nil {
			return workflow.Result{}, err
		}
		call.Headers[name] = v
	}
	if c.body != nil {
		v, err := c.body.render(w)
		if err != nil {
			return workflow.Result{}, err
		}
		if call.Body, err = json.Marshal(v); err != nil {
			return workflow.Result{}, fault.Invalid("body", "bad_body", "the body cannot be written as JSON")
		}
	}
	return workflow.Result{Outside: true}, w.Call(call)
}

// oneLine makes a value fit for a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// bodyText is a JSON value whose texts are rendered.
type bodyText struct {
	text   *workflow.Text
	object map[string]*bodyText
	list   []*bodyText
	plain  any
}

func parseBody(raw json.RawMessage, path string, problems *[]fault.Field) *bodyText {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		*problems = append(*problems, fault.Field{Path: path, Code: "bad_body", Message: "write JSON here"})
		return nil
	}
	return compileBody(v, path, 1, problems)
}

// maxBodyDepth bounds how deep a body may nest.
const maxBodyDepth = 32

func compileBody(v any, path string, depth int, problems *[]fault.Field) *bodyText {
	if depth > maxBodyDepth {
		*problems = append(*problems, fault.Field{Path: path[:min(len(path), 200)], Code: "too_deep", Message: "a body is at most 32 levels deep"})
		return &bodyText{}
	}
	switch x := v.(type) {
	case string:
		return &bodyText{text: text(x, path, problems)}
	case map[string]any:
		b := &bodyText{object: map[string]*bodyText{}}
		for _, k := range keys(x) {
			b.object[k] = compileBody(x[k], path+"."+k, depth+1, problems)
		}
		return b
	case []any:
		b := &bodyText{list: []*bodyText{}}
		for i, e := range x {
			b.list = append(b.list, compileBody(e, fmt.Sprintf("%s[%d]", path, i), depth+1, problems))
		}
		return b
	}
	return &bodyText{plain: v}
}

func (b *bodyText) render(w workflow.World) (any, error) {
	switch {
	case b.text != nil:
		return w.Render(b.text, nil)
	case b.object != nil:
		out := make(map[string]any, len(b.object))
		for k, child := range b.object {
			v, err := child.render(w)
			if err != nil {
				return nil, err
			}
			out[k] = v
		}
		return out, nil
	case b.list != nil:
		out := make([]any, 0, len(b.list))
		for _, child := range b.list {
			v, err := child.render(w)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	return b.plain, nil
}

// Pick reads variables from a reply by paths as Save writes them; a path that leads nowhere gives no variable.
func Pick(reply []byte, save map[string]string) map[string]any {
	if len(save) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(reply)))
	d.UseNumber()
	var root any
	if d.Decode(&root) != nil {
		return nil
	}
	out := map[string]any{}
	for name, path := range save {
		if v, ok := follow(root, strings.TrimPrefix(path, "$")); ok {
			out[name] = v
		}
	}
	return out
}

func follow(v any, path string) (any, bool) {
	for path != "" {
		if path[0] == '.' {
			key := path[1:]
			if i := strings.IndexAny(key, ".["); i >= 0 {
				key = key[:i]
			}
			m, ok := v.(map[string]any)
			if v, ok = m[key], ok && m[key] != nil; !ok {
				return nil, false
			}
			path = path[1+len(key):]
			continue
		}
		n, end := 0, strings.IndexByte(path, ']')
		for _, c := range path[1:end] {
			n = n*10 + int(c-'0')
		}
		list, ok := v.([]any)
		if !ok || n >= len(list) {
			return nil, false
		}
		v, path = list[n], path[end+1:]
	}
	return v, true
}
