package hostile

import (
	"strings"
	"sync"
)

// pool is what the server has told so far: ids by the path they came from, and cursors. All actors share it, so that each
// uses the others' ids too.
type pool struct {
	mu        sync.Mutex
	byPath    map[string][]string // "/api/leads/" → ids
	all       []string
	cursors   []string
	seen      map[string]bool
	protected map[string]bool // the actors themselves: without them there is nobody to ask
}

func newPool() *pool {
	return &pool{byPath: map[string][]string{}, seen: map[string]bool{}, protected: map[string]bool{}}
}

const mostIDs = 400 // of one path; later ones replace earlier ones, so that what was deleted is forgotten

func (p *pool) protect(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.protected[id] = true
	}
}

// learn notes every id and cursor of a reply.
func (p *pool) learn(g *generator, path string, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.walk(g, collection(path), v)
}

// collection is the path of a collection that a path belongs to: /api/leads/ for /api/leads/{id}/notes stays its own.
func collection(path string) string {
	if i := strings.LastIndex(path, "/{"); i >= 0 && strings.HasSuffix(path, "}") {
		path = path[:i]
	}
	return strings.TrimSuffix(path, "/") + "/"
}

func (p *pool) walk(g *generator, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			s, isText := x.(string)
			switch {
			case !isText:
				p.walk(g, at, x)
			case k == "next_cursor" && s != "":
				p.cursors = keep(g, p.cursors, s)
			case (k == "id" || strings.HasSuffix(k, "_id")) && s != "" && len(s) < 200 && k != "request_id" && !p.protected[s] && !p.seen[s+at]:
				p.seen[s+at] = true
				p.byPath[pathOfKey(k, at)] = keep(g, p.byPath[pathOfKey(k, at)], s)
				p.all = keep(g, p.all, s)
			case k == "key" && at == "/api/fields/":
				p.byPath[at] = keep(g, p.byPath[at], s)
			}
		}
	case []any:
		for _, x := range v {
			p.walk(g, at, x)
		}
	}
}

// pathOfKey is where an id that came under a name belongs.
func pathOfKey(key, at string) string {
	switch key {
	case "lead_id":
		return "/api/leads/"
	case "workflow_id":
		return "/api/workflows/"
	case "execution_id", "run_id":
		return "/api/runs/"
	case "job_id":
		return "/api/bulks/"
	case "campaign_id":
		return "/api/campaigns/"
	case "template_id":
		return "/api/templates/"
	case "connection_id":
		return "/api/connections/"
	case "event_id":
		return "/api/audit/events/"
	case "key_id":
		return "/api/auth/keys/"
	}
	switch at {
	case "/api/email/templates/":
		return "/api/templates/"
	case "/api/leads/{id}/tasks/":
		return "/api/tasks/"
	case "/api/email/campaign/":
		return "/api/campaigns/"
	}
	return at
}

func keep(g *generator, list []string, s string) []string {
	if len(list) < mostIDs {
		return append(list, s)
	}
	list[g.IntN(len(list))] = s
	return list
}

// forPath is an id for a path up to its parameter; one of any kind when none is known.
func (p *pool) forPath(g *generator, prefix string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if prefix == "/api/email/campaign/" {
		prefix = "/api/campaigns/"
	}
	if prefix == "/api/crm/salesforce/lead/" || prefix == "/api/crm/hubspot/contact/" {
		prefix = "/api/leads/"
	}
	if strings.HasPrefix(prefix, "/") && !strings.HasPrefix(prefix, "/api") { // a part after a first parameter: /notes/
		for _, at := range []string{"/api/leads/{id}" + prefix} {
			if list := p.byPath[at]; len(list) > 0 {
				return pick(g, list...)
			}
		}
	}
	if list := p.byPath[prefix]; len(list) > 0 {
		return pick(g, list...)
	}
	return p.any(g)
}

func (p *pool) id(g *generator) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if list := p.byPath["/api/leads/"]; len(list) > 0 && g.IntN(2) == 0 {
		return pick(g, list...)
	}
	return p.any(g)
}

func (p *pool) any(g *generator) string {
	if len(p.all) == 0 || g.IntN(10) == 0 {
		return "01890000-0000-7000-8000-000000000000"
	}
	return pick(g, p.all...)
}

func (p *pool) cursor(g *generator) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cursors) == 0 || g.IntN(4) == 0 {
		return pick(g, "", "AAAA", strings.Repeat("A", 60), "=", "\xff")
	}
	c := pick(g, p.cursors...)
	if g.IntN(4) == 0 {
		return c[:len(c)/2] + "x" + c[len(c)/2:]
	}
	return c
}
