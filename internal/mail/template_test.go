package mail_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"leadloom/internal/mail"
)

func values() map[string]any {
	return map[string]any{
		"lead": map[string]any{"first_name": `<b>"Anna" & Co`, "last_name": "", "email": "a@example.com", "company": "javascript:alert(1)", "score": int64(42),
			"tags": []any{"vip", "<i>"}, "custom_fields": map[string]any{"plan": "a b&c", "lines": "<a>\nb", "accent": "émile", "long": strings.Repeat("a", 9000)}},
		"campaign": map[string]any{"name": "Spring"},
	}
}

func TestTemplate_EscapesByPlace(t *testing.T) {
	cases := []struct{ source, want string }{
		{`<p>{{ lead.first_name }}</p>`, `<p>&lt;b&gt;&#34;Anna&#34; &amp; Co</p>`},
		{`<a title="{{ lead.first_name | upcase }}">`, `<a title="&lt;B&gt;&#34;ANNA&#34; &amp; CO">`},
		{`<a href="{{ lead.company }}">x</a>`, `<a href="#">x</a>`},
		{`<a href='https://x.example/?p={{ lead.custom_fields.plan }}&q=1'>x</a>`, `<a href='https://x.example/?p=a%20b%26c&q=1'>x</a>`},
		{`{% if lead.score > 40 %}<a href="https://x.example/{{ lead.score }}">{% endif %}`, `<a href="https://x.example/42">`},
		{`{% for t in lead.tags %}[{{ t }}]{% endfor %}`, `[vip][&lt;i&gt;]`},
		{`Hi {{ lead.last_name | default: "you" }}`, `Hi you`},
		{`{% assign n = lead.score | plus: 1 %}{{ n }}`, `43`},
		{`<img alt="a > b" src="{{ lead.company }}">`, `<img alt="a > b" src="#">`},
		{`<!-- <a href="--><p>{{ lead.company }}</p>`, `<!-- <a href="--><p>javascript:alert(1)</p>`},
		{`<!doctype html><p>{{ lead.score }}</p>`, `<!doctype html><p>42</p>`},
		{`<a href="https://x.example/?q={{ lead.custom_fields.plan | url_encode }}">`, `<a href="https://x.example/?q=a+b%26c">`},
		{`<p>{{ lead.first_name | escape }}</p>`, `<p>&lt;b&gt;&#34;Anna&#34; &amp; Co</p>`},
		{`{{ lead.custom_fields.lines | newline_to_br }}`, `&lt;a&gt;<br />b`},
		{"{{ lead.first_name\n  | downcase\n}}", `&lt;b&gt;&#34;anna&#34; &amp; co`},
		{`{{ lead.custom_fields.accent | capitalize }}`, `Émile`},
		{`{{ lead.custom_fields.accent | truncate: 4 }}|{{ lead.custom_fields.accent | truncate: 2000 }}|{{ lead.custom_fields.accent | slice: 9, 3 }}`, `é...|émile|`},
		{`{{ lead.custom_fields.lines | truncatewords: 0 }}`, `&lt;a&gt;...`},
		{`{{ lead.tags.size }} {{ lead.tags.first }} {{ lead.tags | join: ", " }}`, `2 vip vip, &lt;i&gt;`},
		{`{{ lead.score | at_most: 40 }}`, `40`},
		{`{% for t in lead.tags %}{{ forloop.index }}{% endfor %}`, `12`},
		{`{% if lead.tags contains "vip" and lead.last_name == "" %}yes{% endif %}`, `yes`},
	}
	for _, c := range cases {
		tpl, err := mail.ParseTemplate(c.source, mail.FormatHTML)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if got, err := tpl.Render(values()); err != nil || got != c.want {
			t.Errorf("%s\n got %s (%v)\nwant %s", c.source, got, err, c.want)
		}
	}
}

func TestTemplate_Refuses(t *testing.T) {
	cases := map[string]string{
		`{% include "/etc/passwd" %}`:                        "unknown_tag",
		`{% render "x" %}`:                                   "unknown_tag",
		`{% raw %}{{ x }}{% endraw %}`:                       "unknown_tag",
		`{{ lead.nickname }}`:                                "unknown_variable",
		`{{ leed.first_name }}`:                              "unknown_variable",
		`{{ lead.email | shout }}`:                           "unknown_filter",
		`{% for i in (1..3000) %}x{% endfor %}`:              "loop_not_allowed",
		`{% for i in lead.email | split: "" %}x{% endfor %}`: "loop_not_allowed",
		`{% if lead.email %}x`:                               "template_invalid",
		`{{ lead.email `:                                     "template_invalid",
		`{% for a in lead.tags %}{% for b in lead.tags %}{% for c in lead.tags %}x{% endfor %}{% endfor %}{% endfor %}`: "loops_too_deep",
		`{% for a in lead.tags %}{% assign x = x | append: x %}{% endfor %}`:                                            "assign_not_allowed",
		`<p class={{ lead.company }}>`:                  "unquoted_attribute",
		`<p {{ lead.company }}>`:                        "unquoted_attribute",
		`<p onclick="f('{{ lead.company }}')">`:         "unsafe_place",
		`<script>x = "{{ lead.email }}"</script>`:       "unsafe_place",
		`<style>p { color: {{ lead.source }} }</style>`: "unsafe_place",
		`{% if nickname %}x{% endif %}`:                 "unknown_variable",
		`{% if lead.score > limit %}x{% endif %}`:       "unknown_variable",
		`{{ lead.email | append: nickname }}`:           "unknown_variable",
		`{% if lead.email == blank %}{% endif %}`:       "unknown_variable",
		`{{ lead }}`: "unknown_variable",
		"a\x00b":     "template_invalid",
		`{% for a in lead.tags %}{% for b in lead.tags %}` + strings.Repeat(`{% if a == b %}{% endif %}`, 20) + `{% endfor %}{% endfor %}`: "template_too_costly",
	}
	for source, code := range cases {
		_, err := mail.ParseTemplate(source, mail.FormatHTML)
		var p *mail.Problem
		if !errors.As(err, &p) || p.Code != code {
			t.Errorf("%s: %v, want %s", source, err, code)
		}
	}
}

// TestTemplate_GrowthIsBounded: each of these would fill the memory in the library's own filters.
func TestTemplate_GrowthIsBounded(t *testing.T) {
	ten := strings.Repeat("a", 10)
	for name, source := range map[string]string{
		"replace": `{{ lead.custom_fields.long` + strings.Repeat(` | replace: "a", "`+ten+`"`, 8) + ` }}`,
		"append":  `{% assign x = lead.custom_fields.long %}` + strings.Repeat(`{% assign x = x`+strings.Repeat(" | append: x", 8)+` %}`, 9) + `{{ x }}`,
		"prepend": `{% assign x = lead.custom_fields.long %}` + strings.Repeat(`{% assign x = x`+strings.Repeat(" | prepend: x", 8)+` %}`, 9) + `{{ x }}`,
		"join":    `{{ lead.tags | join: "` + strings.Repeat("-", 300_000) + `" }}`,
		"date":    `{{ "2026-01-01" | date: "%099999d" }}`,
	} {
		tpl, err := mail.ParseTemplate(source, mail.FormatText)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var p *mail.Problem
		if out, err := tpl.Render(values()); !errors.As(err, &p) {
			t.Errorf("%s: rendered %d bytes (%v), want a problem", name, len(out), err)
		}
	}
}

// TestTemplate_RendersForManyAtOnce: one template serves all connections, and a machine that is busy for a moment fails
// nobody.
func TestTemplate_RendersForManyAtOnce(t *testing.T) {
	tpl, err := mail.ParseTemplate(`Hi {{ lead.first_name | default: "you" }}`, mail.FormatHTML)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				name := fmt.Sprintf("A%d-%d", g, i)
				if out, err := tpl.Render(map[string]any{"lead": map[string]any{"first_name": name}}); err != nil || out != "Hi "+name {
					t.Errorf("%q %v, want Hi %s", out, err, name)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTemplate_Missing(t *testing.T) {
	tpl, err := mail.ParseTemplate(`{{ lead.first_name }} {{ lead.last_name }} {{ lead.phone | default: "-" }} {{ lead.custom_fields.city }}{{ lead.tags.size }}{{ lead.tags[0] }}`, mail.FormatText)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tpl.Missing(values()), ","); got != "lead.last_name,lead.custom_fields.city" { // lead.tags.size is there
		t.Errorf("missing = %s", got)
	}
}

func TestTextOf(t *testing.T) {
	got := mail.TextOf(`<head><title>no</title><style>p{}</style></head><h1>Hi  there</h1><p>See <a href="https://x.example/a?b=1&amp;c=2">this</a>.<br>Bye</p><ul><li>one<li>two</ul><script>evil()</script>`)
	want := "Hi there\n\nSee this (https://x.example/a?b=1&c=2).\nBye\n\n- one\n- two\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"Anna@Example.COM":               "Anna@example.com",
		"Jürgen Groß <j@bücher.example>": "j@xn--bcher-kva.example",
	} {
		if a, err := mail.ParseAddress(in); err != nil || a.Addr != want {
			t.Errorf("%s: %v %v, want %s", in, a, err, want)
		}
	}
	for _, bad := range []string{"", "a", "a@", "@b.example", "a@b", "a b@c.example", "a@b.example, c@d.example", "a@b.example\r\nBcc: x@y.example",
		"=?utf-8?q?a=0D=0ABcc:_x?= <a@b.example>", strings.Repeat("a", 65) + "@b.example", "a@[127.0.0.1]", "jürgen@b.example"} {
		if a, err := mail.ParseAddress(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, a)
		}
	}
}

func TestClassify(t *testing.T) {
	cases := []struct {
		code int
		text string
		want mail.Class
	}{
		{550, "5.1.1 The email account that you tried to reach does not exist", mail.ClassHard},
		{550, "No such user here", mail.ClassHard},
		{550, "5.7.1 Service unavailable, client host blocked using a list", mail.ClassBlock},
		{554, "Message rejected under suspicion of SPAM", mail.ClassBlock},
		{552, "5.2.2 mailbox full", mail.ClassSoft},
		{452, "4.2.2 over quota", mail.ClassSoft},
		{450, "greylisted", mail.ClassSoft},
		{550, "5.2.1 account disabled", mail.ClassHard},
		{550, "blocked by our policy", mail.ClassBlock},
		{553, "sorry", mail.ClassHard},
	}
	for _, c := range cases {
		if got := mail.Classify(c.code, "", c.text); got != c.want {
			t.Errorf("%d %s: %s, want %s", c.code, c.text, got, c.want)
		}
	}
}

func TestMessageID_VerifiesOnlyOurs(t *testing.T) {
	key := []byte("k")
	id := mail.MessageID(key, "t-one", "m-1", "x.example")
	if got, ok := mail.VerifyMessageID(key, "t-one", "<"+id+">"); !ok || got != "m-1" {
		t.Errorf("our own %s is not recognised: %s %v", id, got, ok)
	}
	for _, forged := range []string{strings.Replace(id, "m-1", "m-2", 1), "x@y", "", id[1:]} {
		if _, ok := mail.VerifyMessageID(key, "t-one", forged); ok {
			t.Errorf("%s was taken as ours", forged)
		}
	}
	if _, ok := mail.VerifyMessageID(key, "t-two", id); ok {
		t.Error("another tenant's id was taken as ours")
	}
}
