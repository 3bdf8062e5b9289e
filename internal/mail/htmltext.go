package mail

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// TextOf makes the plain-text part from HTML: text with line breaks at blocks, links as "words (address)", and
// nothing of script, style or head.
func TextOf(source string) string {
	z := html.NewTokenizer(strings.NewReader(source))
	var b strings.Builder
	var links []string
	skip := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			return tidyText(b.String())
		case html.TextToken:
			if skip == 0 {
				b.WriteString(oneBlank(string(z.Text())))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			switch t.DataAtom {
			case atom.Script, atom.Style, atom.Head, atom.Title:
				if t.Type == html.StartTagToken {
					skip++
				}
			case atom.Br:
				b.WriteByte('\n')
			case atom.Li:
				b.WriteString("\n- ")
			case atom.A:
				if t.Type == html.StartTagToken {
					links = append(links, attribute(t, "href"))
				}
			case atom.Img:
				b.WriteString(attribute(t, "alt"))
			default:
				b.WriteString(blockBreak(t.DataAtom))
			}
		case html.EndTagToken:
			t := z.Token()
			switch t.DataAtom {
			case atom.Script, atom.Style, atom.Head, atom.Title:
				skip = max(skip-1, 0)
			case atom.A:
				if n := len(links); n > 0 {
					if links[n-1] != "" && !strings.HasSuffix(b.String(), links[n-1]) {
						b.WriteString(" (" + links[n-1] + ")")
					}
					links = links[:n-1]
				}
			default:
				b.WriteString(blockBreak(t.DataAtom))
			}
		}
	}
}

func blockBreak(a atom.Atom) string {
	switch a {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Ul, atom.Ol, atom.Blockquote, atom.Hr:
		return "\n\n"
	case atom.Div, atom.Tr, atom.Section, atom.Article, atom.Header, atom.Footer:
		return "\n"
	case atom.Td, atom.Th:
		return " "
	}
	return ""
}

func attribute(t html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// oneBlank makes one space of each run of blanks.
func oneBlank(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	run := false
	for i := range len(s) {
		switch s[i] {
		case ' ', '\t', '\r', '\n', '\f':
			if !run {
				b.WriteByte(' ')
			}
			run = true
		default:
			b.WriteByte(s[i])
			run = false
		}
	}
	return b.String()
}

// tidyText trims each line and leaves at most one empty line between two others.
func tidyText(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	empty := 0
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		if line = strings.TrimSpace(oneBlank(line)); line == "" {
			if empty++; empty > 1 {
				continue
			}
		} else {
			empty = 0
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}
