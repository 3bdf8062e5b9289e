package mail

import (
	"slices"
	"strings"
)

// place walks HTML text as a browser's tokenizer does, as far as it takes to say how a value must be escaped where
// the text so far ends.
type place struct {
	state placeState
	quote byte   // that ends the attribute's value
	name  string // of the attribute
	begun bool   // the attribute's value has begun
	tag   string
	raw   string // script or style: text up to its end tag
	tail  string // the last bytes of raw text or of a comment, to find its end
}

type placeState uint8

const (
	inText placeState = iota
	inTagOpen
	inTagName
	inTag // between attributes
	inName
	afterName
	afterEquals
	inQuotes
	inBare
	inRaw
	inComment
)

// links are the attributes whose value a browser follows or loads.
var links = []string{"href", "src", "action", "formaction", "background", "cite", "poster", "data", "longdesc", "xlink:href"}

// feed walks on over text of the template.
func (p *place) feed(text string) {
	for i := range len(text) {
		p.step(text[i])
	}
}

// value walks over a value that stands here.
func (p *place) value() {
	if p.state == inQuotes {
		p.begun = true
	}
}

func (p *place) step(c byte) {
	space := c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'
	switch p.state {
	case inText:
		if c == '<' {
			p.state, p.tag = inTagOpen, ""
		}
	case inTagOpen:
		switch {
		case c == '/' && p.tag == "":
			p.tag = "/"
		case c == '!' && p.tag == "":
			p.state, p.tail = inComment, "!"
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			p.tag += string(c | 0x20)
			p.state = inTagName
		default:
			p.state = inText
		}
	case inTagName:
		switch {
		case space || c == '/':
			p.state = inTag
		case c == '>':
			p.endTag()
		default:
			p.tag += strings.ToLower(string(c))
		}
	case inTag, afterName:
		switch {
		case space || c == '/' && p.state == inTag:
		case c == '>':
			p.endTag()
		case c == '=' && p.state == afterName:
			p.state = afterEquals
		default:
			p.state, p.name = inName, strings.ToLower(string(c))
		}
	case inName:
		switch {
		case space:
			p.state = afterName
		case c == '=':
			p.state = afterEquals
		case c == '>':
			p.endTag()
		case c == '/':
			p.state = inTag
		default:
			p.name += strings.ToLower(string(c))
		}
	case afterEquals:
		switch {
		case space:
		case c == '"' || c == '\'':
			p.state, p.quote, p.begun = inQuotes, c, false
		case c == '>':
			p.endTag()
		default:
			p.state = inBare
		}
	case inQuotes:
		if c == p.quote {
			p.state = inTag
		} else if !space {
			p.begun = true
		}
	case inBare:
		if space {
			p.state = inTag
		} else if c == '>' {
			p.endTag()
		}
	case inRaw:
		if p.end(c, "</"+p.raw) {
			p.state, p.tag = inTagName, "/"+p.raw
		}
	case inComment:
		if p.tail == "!" && c != '-' || p.tail == "!-" && c != '-' { // a declaration such as <!doctype html>
			p.tail = "!>"
		}
		if p.tail == "!>" {
			if c == '>' {
				p.state = inText
			}
		} else if len(p.tail) < 3 {
			p.tail += string(c)
		} else if p.end(c, "-->") {
			p.state = inText
		}
	}
}

// end keeps the last bytes and reports whether they are the word.
func (p *place) end(c byte, word string) bool {
	p.tail += string(c)
	p.tail = p.tail[max(0, len(p.tail)-len(word)):]
	if !strings.EqualFold(p.tail, word) {
		return false
	}
	p.tail = ""
	return true
}

func (p *place) endTag() {
	p.state = inText
	if p.tag == "script" || p.tag == "style" {
		p.state, p.raw, p.tail = inRaw, p.tag, ""
	}
}

// escape names the filter for a value at this place, or says why none may stand here.
func (p *place) escape() (filter string, err *Problem) {
	switch p.state {
	case inText, inComment:
		return "leadloom_text", nil
	case inQuotes:
		switch {
		case strings.HasPrefix(p.name, "on"):
			return "", &Problem{"unsafe_place", "A value may not stand inside " + clip(p.name) + "=\"…\": it would be run as a script."}
		case !slices.Contains(links, p.name):
			return "leadloom_text", nil
		case p.begun:
			return "leadloom_part", nil
		}
		return "leadloom_link", nil
	case inRaw:
		return "", &Problem{"unsafe_place", "A value may not stand inside <" + p.raw + ">."}
	}
	return "", &Problem{"unquoted_attribute", "A value inside a tag stands in quotes: write title=\"{{ lead.company }}\"."}
}
