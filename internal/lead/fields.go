package lead

import (
	"bytes"
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"leadloom/internal/fault"
)

// customPrefix is how a custom field is named among the others.
const customPrefix = "custom_fields."

// MaxFields is how many custom fields a tenant may define.
const MaxFields = 200

// FieldType is the type of a custom field; text is stored as sent, numbers exactly.
type FieldType string

// The types of custom fields.
const (
	TypeText        FieldType = "text"
	TypeLongText    FieldType = "long_text"
	TypeInteger     FieldType = "integer"
	TypeNumber      FieldType = "number"
	TypeBoolean     FieldType = "boolean"
	TypeDate        FieldType = "date"
	TypeDatetime    FieldType = "datetime"
	TypeChoice      FieldType = "choice"
	TypeMultiChoice FieldType = "multi_choice"
	TypeURL         FieldType = "url"
	TypeEmail       FieldType = "email"
	TypePhone       FieldType = "phone"
	TypeUser        FieldType = "user"
	TypeJSON        FieldType = "json"
)

var fieldTypes = []FieldType{TypeText, TypeLongText, TypeInteger, TypeNumber, TypeBoolean, TypeDate, TypeDatetime, TypeChoice,
	TypeMultiChoice, TypeURL, TypeEmail, TypePhone, TypeUser, TypeJSON}

// FieldDef defines one custom field. Key and Type are fixed once it exists.
type FieldDef struct {
	Key               string          `json:"key" doc:"Fixed name: [a-z][a-z0-9_]{0,62}"`
	Label             string          `json:"label,omitempty" doc:"What people see; the key when empty"`
	Type              FieldType       `json:"type" enum:"text,long_text,integer,number,boolean,date,datetime,choice,multi_choice,url,email,phone,user,json"`
	Choices           []string        `json:"choices,omitempty" doc:"For choice and multi_choice"`
	Min               *float64        `json:"min,omitempty" doc:"Smallest integer or number"`
	Max               *float64        `json:"max,omitempty" doc:"Largest integer or number"`
	MaxLength         int             `json:"max_length,omitempty" doc:"Longest text in characters"`
	Default           json.RawMessage `json:"default,omitempty" doc:"Given to a new lead that has no value"`
	Required          bool            `json:"required,omitempty"`
	RequiredForStatus []string        `json:"required_for_status,omitempty" doc:"Required while the lead has one of these statuses"`
	Unique            bool            `json:"unique,omitempty" doc:"No two leads may have the same value"`
	ReadOnly          bool            `json:"read_only,omitempty" doc:"Only workflows and syncs may set it, not the API"`
}

var fieldKey = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Check normalises a definition and reports everything that is wrong with it.
func (d *FieldDef) Check(r *Rules) error {
	var problems []fault.Field
	bad := func(path, code, message string) {
		problems = append(problems, fault.Field{Path: path, Code: code, Message: message})
	}
	if !fieldKey.MatchString(d.Key) {
		bad("key", "bad_key", "Send a key of lower-case letters, digits and _, starting with a letter, at most 63 long.")
	}
	label, problem := checkText("label", d.Label, maxText, false)
	if problem != nil {
		problems = append(problems, *problem)
	}
	if d.Label = label; d.Label == "" {
		d.Label = d.Key
	}
	if !slices.Contains(fieldTypes, d.Type) {
		bad("type", "unknown_type", "Send one of "+joinTypes()+".")
	}
	choice := d.Type == TypeChoice || d.Type == TypeMultiChoice
	switch {
	case choice && len(d.Choices) == 0:
		bad("choices", "required", "Send the values to choose from.")
	case !choice && len(d.Choices) > 0:
		bad("choices", "not_applicable", "Only choice and multi_choice fields have choices; leave them out.")
	case len(d.Choices) > 500:
		bad("choices", "too_many", "Send at most 500 choices.")
	}
	for i, c := range d.Choices {
		clean, problem := checkText(at("choices", i), c, maxText, false)
		if problem != nil {
			problems = append(problems, *problem)
		} else if clean == "" || slices.Contains(d.Choices[:i], clean) {
			bad(at("choices", i), "bad_choice", "Send each choice once and not empty.")
		}
		d.Choices[i] = clean
	}
	if d.Min != nil && d.Max != nil && *d.Min > *d.Max {
		bad("max", "out_of_order", "Send a max that is not below min.")
	}
	if (d.Min != nil || d.Max != nil) && d.Type != TypeInteger && d.Type != TypeNumber {
		bad("min", "not_applicable", "Only integer and number fields have min and max; leave them out.")
	}
	if d.MaxLength < 0 || d.MaxLength > d.longest() {
		bad("max_length", "out_of_range", "Send a length from 1 to "+number(d.longest())+".")
	}
	for i, s := range d.RequiredForStatus {
		if known, ok := r.status(s); ok {
			d.RequiredForStatus[i] = known
		} else {
			bad(at("required_for_status", i), "unknown_status", "Send one of "+strings.Join(r.Statuses, ", ")+".")
		}
	}
	if d.Unique && (d.Type == TypeJSON || d.Type == TypeMultiChoice || d.Type == TypeBoolean || d.Type == TypeLongText) {
		bad("unique", "not_applicable", "A field of this type cannot be unique; leave it out.")
	}
	if len(problems) == 0 && len(d.Default) > 0 && !bytes.Equal(d.Default, []byte("null")) {
		switch v, problem := d.checkRaw("default", d.Default, r.Region); {
		case problem != nil:
			problems = append(problems, *problem)
		case v == nil:
			d.Default = nil
		default:
			d.Default = encodeValue(v)
		}
	} else if len(problems) == 0 {
		d.Default = nil
	}
	return fault.InvalidFields(problems).OrNil()
}

func (d *FieldDef) longest() int {
	if d.Type == TypeLongText {
		return maxNotes
	}
	return maxText * 5
}

func (d *FieldDef) limit() int {
	switch {
	case d.MaxLength > 0:
		return d.MaxLength
	case d.Type == TypeLongText:
		return maxNotes
	}
	return maxText
}

func (d *FieldDef) checkRaw(path string, raw json.RawMessage, region string) (any, *fault.Field) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil, &fault.Field{Path: path, Code: "malformed", Message: "Send JSON."}
	}
	return d.CheckValue(path, v, region)
}

// CheckValue normalises one value as decoded from JSON with UseNumber. A nil or an empty text is "no value": nil.
func (d *FieldDef) CheckValue(path string, v any, region string) (any, *fault.Field) {
	if v == nil || v == "" {
		return nil, nil
	}
	switch d.Type {
	case TypeInteger, TypeNumber:
		return d.checkNumber(path, v)
	case TypeBoolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, wrongType(path, "true or false")
	case TypeMultiChoice:
		return d.checkChoices(path, v)
	case TypeJSON:
		return checkJSON(path, v)
	}
	s, ok := v.(string)
	if n, isNumber := v.(json.Number); isNumber && d.Type == TypeText {
		s, ok = n.String(), true // callers send house numbers and ids either way
	}
	if !ok {
		return nil, wrongType(path, "a text in quotes")
	}
	s, problem := checkText(path, s, d.limit(), d.Type == TypeLongText)
	if problem != nil {
		return nil, problem
	}
	if s == "" {
		return nil, nil
	}
	return d.checkString(path, s, region)
}

func (d *FieldDef) checkString(path, s, region string) (any, *fault.Field) {
	bad := func(code, message string) (any, *fault.Field) {
		return nil, &fault.Field{Path: path, Code: code, Message: message}
	}
	switch d.Type {
	case TypeDate:
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return bad("not_a_date", "Send a date like 2026-03-31.")
		}
	case TypeDatetime:
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			return bad("not_a_time", "Send a time like 2026-03-31T14:00:00Z.")
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	case TypeChoice:
		if i := slices.IndexFunc(d.Choices, func(c string) bool { return Fold(c) == Fold(s) }); i >= 0 {
			return d.Choices[i], nil
		}
		return bad("unknown_choice", "Send one of "+strings.Join(d.Choices, ", ")+".")
	case TypeURL:
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad("not_a_url", "Send an address that starts with https:// or http://.")
		}
	case TypeEmail:
		a, problem := ParseEmail(path, s)
		if problem != nil {
			return nil, problem
		}
		return a, nil
	case TypePhone:
		typed, e164, _, problem := ParsePhone(path, s, region)
		if problem != nil {
			return nil, problem
		}
		if e164 != "" {
			return e164, nil
		}
		return typed, nil
	}
	return s, nil
}

func (d *FieldDef) checkNumber(path string, v any) (any, *fault.Field) {
	n, ok := v.(json.Number)
	if !ok {
		if f, isFloat := v.(float64); isFloat {
			n, ok = json.Number(strconv.FormatFloat(f, 'f', -1, 64)), true
		}
	}
	if !ok {
		return nil, wrongType(path, "a number without quotes")
	}
	f, ok := tameNumber(n)
	if !ok {
		return nil, &fault.Field{Path: path, Code: "out_of_range", Message: numberLimits}
	}
	if d.Type == TypeInteger {
		if _, err := n.Int64(); err != nil {
			return nil, &fault.Field{Path: path, Code: "not_an_integer", Message: "Send a whole number without decimals."}
		}
	}
	if d.Min != nil && f < *d.Min || d.Max != nil && f > *d.Max {
		return nil, &fault.Field{Path: path, Code: "out_of_range", Message: "Send a number " + d.bounds() + "."}
	}
	return n, nil
}

const numberLimits = "Send a number of at most 40 digits, with an exponent from -300 to 300."

// tameNumber is the value of a number that every reader of JSON can hold; false for another.
func tameNumber(n json.Number) (float64, bool) {
	f, err := n.Float64()
	return f, err == nil && !math.IsInf(f, 0) && len(n) <= 40 && plainExponent(n)
}

// hasWildNumber looks for a number that is not tame anywhere in a value.
func hasWildNumber(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if hasWildNumber(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasWildNumber)
	case json.Number:
		_, ok := tameNumber(v)
		return !ok
	}
	return false
}

// plainExponent refuses exponents that cost memory once somebody computes with the number exactly.
func plainExponent(n json.Number) bool {
	_, exponent, has := strings.Cut(strings.ToLower(string(n)), "e")
	if !has {
		return true
	}
	e, err := strconv.Atoi(exponent)
	return err == nil && e >= -300 && e <= 300
}

func (d *FieldDef) bounds() string {
	show := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case d.Min == nil:
		return "of at most " + show(*d.Max)
	case d.Max == nil:
		return "of at least " + show(*d.Min)
	}
	return "from " + show(*d.Min) + " to " + show(*d.Max)
}

func (d *FieldDef) checkChoices(path string, v any) (any, *fault.Field) {
	list, ok := v.([]any)
	if !ok {
		return nil, wrongType(path, "a list of choices")
	}
	out := []string{}
	one := *d
	one.Type = TypeChoice
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, wrongType(at(path, i), "a text in quotes")
		}
		c, problem := one.checkString(at(path, i), s, "")
		if problem != nil {
			return nil, problem
		}
		if !slices.Contains(out, c.(string)) {
			out = append(out, c.(string))
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// checkJSON bounds a free value: 16 KiB, 20 levels, numbers that every client can read, no NUL (PostgreSQL cannot hold one).
func checkJSON(path string, v any) (any, *fault.Field) {
	if depth(v) > 20 {
		return nil, &fault.Field{Path: path, Code: "too_deep", Message: "Send at most 20 levels of nesting."}
	}
	if hasWildNumber(v) {
		return nil, &fault.Field{Path: path, Code: "out_of_range", Message: numberLimits}
	}
	raw := encodeValue(v)
	if len(raw) > 16<<10 {
		return nil, &fault.Field{Path: path, Code: "too_long", Message: "Send at most 16384 bytes of JSON."}
	}
	if bytes.Contains(raw, []byte(`\u0000`)) || !utf8.Valid(raw) {
		return nil, &fault.Field{Path: path, Code: "control_character", Message: "Send the texts in it without NUL characters."}
	}
	return v, nil
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
	default:
		return 0
	}
	return deepest + 1
}

func wrongType(path, want string) *fault.Field {
	return &fault.Field{Path: path, Code: "wrong_type", Message: "Send " + want + "."}
}

func joinTypes() string {
	names := make([]string, len(fieldTypes))
	for i, t := range fieldTypes {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}
