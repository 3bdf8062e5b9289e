package hostile

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
)

// generator draws requests of one actor from a seed. Nothing that it makes names a host that could be reached.
type generator struct {
	*rand.Rand
	spec *spec
	pool *pool
	own  string // the actor's tenant
	n    int
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// texts are what decoders and databases choke on; each is one valid JSON string once it is encoded.
var texts = []string{"", " ", "\x00", "a\x00b", "\x1f", "\u2028", "\u202egnp.exe", "\ufeff", "e\u0301\u0301\u0301", "👩\u200d👩\u200d👧", "ﷺ", "İıſK", "' OR 1=1 --", "\"; DROP TABLE leads; --", "<script>alert(1)</script>",
	"{{ lead.email }}", "{% for i in (1..9999999) %}x{% endfor %}", "${jndi:ldap://x.invalid/a}", "../../../../etc/passwd", "%00%ff", "%", "_", "\\", "-1", "0", "1e999", "9223372036854775808", "NaN", "null", "true", "[]",
	"https://127.0.0.1:1/", "https://x.invalid/", "file:///etc/passwd", "javascript:alert(1)", "9999-12-31T23:59:59-12:00", "0001-01-01", "2026-02-30", "=cmd|'/c calc'!A1", "a@b", "a@b.invalid\r\nBcc: c@d.invalid", "+491701234567", "💥"}

// raws are JSON values as text that no encoder would write.
var raws = []string{`"\ud800"`, `"\udc00\ud800"`, "\"\xff\xfe\"", `1e999`, `-1e999`, `1e-999`, `-0`, `0.1e1`, `123456789012345678901234567890`, `1.0000000000000000000000000001`, `{"a":1,"a":2}`, `{"__proto__":{}}`, `[[[[[[[[]]]]]]]]`,
	strings.Repeat("[", 500) + strings.Repeat("]", 500), strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500), `{"":""}`, `"\u0000"`}

// text is a string of any kind, now and then a very long one.
func (g *generator) text() string {
	switch g.IntN(12) {
	case 0:
		return strings.Repeat(pick(g, "a", "é", "👩\u200d", "{{", "[", " ", "\\", "a@"), 1<<g.IntN(15))
	case 1:
		b := make([]rune, g.IntN(20))
		for i := range b {
			b[i] = rune(g.IntN(0x10ffff))
		}
		return strings.ToValidUTF8(string(b), "?")
	}
	return pick(g, texts...)
}

// word is a short, harmless text that is new each time.
func (g *generator) word() string {
	g.n++
	return fmt.Sprintf("w%d%c%x", g.n, 'a'+rune(g.IntN(26)), g.Uint32())
}

// valid draws a value that a schema allows, names of fields giving a hint of what is meant.
func (g *generator) valid(sc schema, name string, depth int) any {
	sc = g.spec.resolve(sc)
	for _, w := range []string{"anyOf", "oneOf"} {
		if list, ok := sc[w].([]any); ok {
			one, _ := pick(g, list...).(schema)
			return g.valid(one, name, depth)
		}
	}
	if values, ok := sc["enum"].([]any); ok {
		return pick(g, values...)
	}
	kinds := types(sc)
	kind := ""
	if len(kinds) > 0 {
		kind = pick(g, kinds...)
	}
	switch kind {
	case "object":
		return g.object(sc, depth)
	case "array":
		items, _ := sc["items"].(schema)
		out := []any{}
		for range g.IntN(4) {
			if depth < 6 {
				out = append(out, g.valid(items, name, depth+1))
			}
		}
		return out
	case "integer", "number":
		least, most := 0.0, 100.0
		if v, ok := sc["minimum"].(float64); ok {
			least, most = v, v+100
		}
		if v, ok := sc["maximum"].(float64); ok {
			most = v
		}
		v := least + g.Float64()*(most-least)
		if kind == "integer" {
			return int64(v)
		}
		return v
	case "boolean":
		return g.IntN(2) == 0
	case "null":
		return nil
	case "string":
		return g.meant(name, sc)
	}
	return pick[any](g, nil, g.word(), int64(g.IntN(100)), true, []any{g.word()}, map[string]any{g.word(): g.word()})
}

func (g *generator) object(sc schema, depth int) any {
	out := map[string]any{}
	props, _ := sc["properties"].(schema)
	required, _ := sc["required"].([]any)
	for _, k := range sortedNames(props) {
		p, _ := props[k].(schema)
		if slices.Contains(required, any(k)) || depth < 5 && g.IntN(3) > 0 {
			out[k] = g.valid(p, k, depth+1)
		}
	}
	if more, ok := sc["additionalProperties"].(schema); ok && depth < 5 {
		for range g.IntN(3) {
			out[g.word()] = g.valid(more, "", depth+1)
		}
	}
	return out
}

// meant is a string as the name of its field asks for.
func (g *generator) meant(name string, sc schema) any {
	switch {
	case sc["format"] == "date-time" || strings.HasSuffix(name, "_at") || name == "at" || name == "due":
		return pick(g, "2030-03-31T02:30:00Z", "2026-03-29T02:30:00+02:00", "2020-02-29T23:59:60Z")
	case name == "email" || name == "to" || name == "recipients" || name == "address" || name == "from" || name == "reply_to":
		return g.word() + "@example.invalid"
	case name == "api_url" || strings.HasSuffix(name, "url"):
		return "https://" + g.word() + ".invalid/api"
	case name == "id" || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids") || name == "owner" || name == "leads":
		return g.pool.id(g)
	case name == "phone":
		return fmt.Sprintf("+49170%07d", g.IntN(10_000_000))
	case name == "role":
		return pick(g, "admin", "manager", "salesperson", "analyst", "guest")
	case name == "crm_type" || name == "type" && g.IntN(2) == 0:
		return pick(g, "generic", "hubspot", "text", "integer")
	case name == "cursor":
		return g.pool.cursor(g)
	}
	return g.word()
}

func sortedNames(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// bend changes a few places of a value: another type, a hostile text, a key too many or too few, twice the same.
func (g *generator) bend(v any) any {
	for range 1 + g.IntN(3) {
		v = g.bendOnce(v, 0)
	}
	return v
}

func (g *generator) bendOnce(v any, depth int) any {
	if g.IntN(4) == 0 && depth > 0 || depth > 8 {
		return pick[any](g, nil, true, json.RawMessage(pick(g, raws...)), g.text(), int64(-1), json.Number("9223372036854775808"), 0.5, []any{}, map[string]any{}, []any{g.text(), nil}, map[string]any{g.text(): g.text()}, g.pool.id(g))
	}
	switch x := v.(type) {
	case map[string]any:
		keys := sortedNames(x)
		switch {
		case len(keys) == 0 || g.IntN(6) == 0:
			x[pick(g, g.text(), g.word(), "id", "tenant_id", "role", "permissions", "version", "created_at")] = g.text()
		case g.IntN(5) == 0:
			delete(x, pick(g, keys...))
		default:
			k := pick(g, keys...)
			x[k] = g.bendOnce(x[k], depth+1)
		}
		return x
	case []any:
		switch {
		case len(x) == 0 || g.IntN(6) == 0:
			return append(x, g.text())
		case g.IntN(8) == 0:
			for len(x) < 300 {
				x = append(x, x[0])
			}
			return x
		}
		i := g.IntN(len(x))
		x[i] = g.bendOnce(x[i], depth+1)
		return x
	}
	return pick[any](g, g.text(), nil, json.RawMessage(pick(g, raws...)), []any{v}, map[string]any{"a": v}, json.Number("1e400"))
}

// unmistakable makes each text under a name of credentials one that stands nowhere else: when it is found in the open it
// was let out.
func (g *generator) unmistakable(v any, secret bool) any {
	switch x := v.(type) {
	case map[string]any:
		for k, inner := range x {
			if k == "type" {
				continue
			}
			x[k] = g.unmistakable(inner, secret || slices.Contains([]string{"api_key", "authentication", "credentials", "secrets"}, k))
		}
	case []any:
		for i, inner := range x {
			x[i] = g.unmistakable(inner, secret)
		}
	case string:
		if secret {
			return x + g.word()
		}
	}
	return v
}

// broken is a body that is no JSON, or not what it says.
func (g *generator) broken(body string) string {
	switch g.IntN(7) {
	case 0:
		return body[:g.IntN(len(body)+1)]
	case 1:
		return body + pick(g, "}", "]", "\x00", body, ",", "{}")
	case 2:
		return strings.Replace(body, `"`, "'", 2)
	case 3:
		return pick(g, "", " ", "\ufeff"+body, "null", "[]", "7", `"x"`, "\xff\xfe", "{", "a=b&c=d", strings.Repeat("[", 100_000), "<a/>")
	case 4:
		b := []byte(body)
		for range 1 + g.IntN(4) {
			if len(b) > 0 {
				b[g.IntN(len(b))] = byte(g.IntN(256))
			}
		}
		return string(b)
	case 5:
		return strings.Replace(body, ":", ":"+pick(g, raws...)+",", 1)
	}
	return strings.Repeat(" ", g.IntN(3000)) + body
}

// query draws the query string of an operation, valid or not.
func (g *generator) query(o *operation, hostile bool) string {
	q := url.Values{}
	for _, p := range o.params {
		if p.in != "query" || g.IntN(3) == 0 {
			continue
		}
		v := g.valid(p.schema, p.name, 0)
		if hostile && g.IntN(2) == 0 {
			v = pick[any](g, g.text(), g.pool.id(g), "-1", "99999999999999999999", "1.5", g.pool.cursor(g))
		}
		q.Set(p.name, clip(fmt.Sprint(v), 1500))
		if hostile && g.IntN(6) == 0 {
			q.Add(p.name, "again")
		}
	}
	s := q.Encode()
	if hostile {
		s += pick(g, "", "", "", "&"+url.QueryEscape(clip(g.text(), 500))+"=1", "&a=%zz", "&;=&&", "&%ff=%00", "&limit=2&limit=3", "&cursor[]=a")
	}
	return strings.TrimPrefix(s, "&")
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// pathOf fills an operation's path with ids that the server gave out, of any kind and tenant, or with what is none.
func (g *generator) pathOf(o *operation, hostile bool) string {
	var b strings.Builder
	rest := o.path
	for {
		before, after, ok := strings.Cut(rest, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, tail, _ := strings.Cut(after, "}")
		rest = tail
		id := g.pool.forPath(g, before)
		switch {
		case name == "crm":
			id = "generic"
		case name == "tag":
			id = "vip"
		}
		if hostile && g.IntN(3) == 0 {
			id = pick(g, g.text(), g.pool.id(g), "..", ".", "a/b", "a?b", "a#b", "%", "null", strings.Repeat("x", 2000))
		}
		b.WriteString(url.PathEscape(clip(id, 3000)))
	}
}
