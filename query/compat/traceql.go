package compat

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// Of TraceQL is understood what Grafana's search builder writes, and a little more: one pair of braces with comparisons, joined by && and
// || and parentheses, and select() behind it. All else is refused, and never passed over: a filter that is left out finds what it should not.

// traceQL is a query that was understood.
type traceQL struct {
	match storage.Match
	// named are the fields that the query names, but for those that are said of every span anyway.
	named []namedField
}

// namedField is a field, and what the query calls it without its scope.
type namedField struct {
	storage.FieldRef
	name string
}

// The limits of a query.
const (
	queryBytesMax  = 8 << 10
	regexBytesMax  = 1 << 10
	depthMax       = 20
	comparisonsMax = 60
	namedMax       = 20
)

func parseTraceQL(text string) (*traceQL, error) {
	p := &qlParser{text: text}
	if len(text) > queryBytesMax {
		return nil, p.wrong("it has %d bytes; %d are read", len(text), queryBytesMax)
	}
	if p.space(); p.at == len(p.text) {
		return &p.found, nil
	}
	if !p.take("{") {
		return nil, p.wrong("it does not begin with {")
	}
	if !p.take("}") {
		match, err := p.either(0)
		if err != nil {
			return nil, err
		}
		if !p.take("}") {
			return nil, p.wrong("expected && or || or }")
		}
		p.found.match = match
	}
	for p.space(); p.at < len(p.text); p.space() {
		if err := p.stage(); err != nil {
			return nil, err
		}
	}
	return &p.found, nil
}

// qlParser is where in a query we are, and what was found.
type qlParser struct {
	text        string
	at          int
	found       traceQL
	comparisons int
}

func (p *qlParser) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: TraceQL, at character %d: %s", query.ErrInvalid, p.at+1, fmt.Sprintf(format, args...))
}

func (p *qlParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take goes past a symbol, if it is next.
func (p *qlParser) take(symbol string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.at:], symbol) {
		return false
	}
	p.at += len(symbol)
	return true
}

// stage reads what may come behind the braces.
func (p *qlParser) stage() error {
	if strings.HasPrefix(p.text[p.at:], "||") || !p.take("|") {
		return p.wrong("only one {…} is understood, and not how several relate")
	}
	p.space()
	if name := p.word(); name != "select" {
		return p.wrong("of what may follow a |, only select(…) is understood, and not %.20q", name)
	}
	if !p.take("(") {
		return p.wrong("expected (")
	}
	for {
		p.space()
		field, name, err := p.field()
		if err != nil {
			return err
		}
		if field.Field == fieldRoot {
			return p.wrong("%s cannot be selected", name)
		}
		p.name(field, name)
		if p.take(")") {
			return nil
		}
		if !p.take(",") {
			return p.wrong("expected , or )")
		}
	}
}

func (p *qlParser) either(depth int) (storage.Match, error) {
	return p.chain(depth, "||", p.both, func(list []storage.Match) storage.Match { return storage.Match{Any: list} })
}

func (p *qlParser) both(depth int) (storage.Match, error) {
	return p.chain(depth, "&&", p.single, func(list []storage.Match) storage.Match { return storage.Match{All: list} })
}

func (p *qlParser) chain(depth int, by string, part func(int) (storage.Match, error), join func([]storage.Match) storage.Match) (storage.Match, error) {
	var list []storage.Match
	for {
		m, err := part(depth)
		if err != nil {
			return m, err
		}
		list = append(list, m)
		if !p.take(by) {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return join(list), nil
}

// single is a comparison, or something in parentheses.
func (p *qlParser) single(depth int) (storage.Match, error) {
	if depth >= depthMax {
		return storage.Match{}, p.wrong("more than %d parentheses in each other", depthMax)
	}
	if p.take("(") {
		m, err := p.either(depth + 1)
		if err == nil && !p.take(")") {
			err = p.wrong("expected && or || or )")
		}
		return m, err
	}
	if p.comparisons++; p.comparisons > comparisonsMax {
		return storage.Match{}, p.wrong("more than %d comparisons", comparisonsMax)
	}
	if p.space(); strings.HasPrefix(p.text[p.at:], "!") {
		return storage.Match{}, p.wrong("a ! before something is not understood; turn the comparison around")
	}
	return p.comparison()
}

func (p *qlParser) comparison() (storage.Match, error) {
	if start := p.at; p.isValue() {
		v, err := p.value()
		if err != nil {
			return storage.Match{}, err
		}
		op, ok := p.operator()
		if !ok {
			if v.kind == valueWord && v.text == "true" {
				return storage.Match{}, nil
			}
			p.at = start
			return storage.Match{}, p.wrong("a value stands alone")
		}
		field, name, err := p.field()
		if err != nil {
			return storage.Match{}, err
		}
		return p.compare(field, name, turned(op), v)
	}
	field, name, err := p.field()
	if err != nil {
		return storage.Match{}, err
	}
	op, ok := p.operator()
	if !ok {
		return storage.Match{}, p.wrong("expected a comparison of %.40q: =, !=, =~, !~, <, <=, > or >=", name)
	}
	if p.space(); !p.isValue() {
		return storage.Match{}, p.wrong("expected a value that %.40q is compared with: a \"text\", a number, a duration like 100ms, or a word like error or server", name)
	}
	v, err := p.value()
	if err != nil {
		return storage.Match{}, err
	}
	return p.compare(field, name, op, v)
}

func turned(op storage.Op) storage.Op {
	switch op {
	case storage.OpLess:
		return storage.OpGreater
	case storage.OpLessOrEqual:
		return storage.OpGreaterOrEqual
	case storage.OpGreater:
		return storage.OpLess
	case storage.OpGreaterOrEqual:
		return storage.OpLessOrEqual
	default:
		return op
	}
}

func (p *qlParser) operator() (storage.Op, bool) {
	for _, o := range [...]struct { // the longer ones first
		symbol string
		op     storage.Op
	}{
		{"=~", storage.OpMatch},
		{"!~", storage.OpNotMatch},
		{"!=", storage.OpNotEqual},
		{"<=", storage.OpLessOrEqual},
		{">=", storage.OpGreaterOrEqual},
		{"=", storage.OpEqual},
		{"<", storage.OpLess},
		{">", storage.OpGreater},
	} {
		if p.take(o.symbol) {
			return o.op, true
		}
	}
	return 0, false
}

// ends are the bytes that end a word.
const ends = " \t\r\n{}()=!<>~&|,\"`"

func (p *qlParser) word() string {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(ends, p.text[p.at]) < 0 {
		p.at++
	}
	return p.text[start:p.at]
}

// fieldRoot is what tells roots from others. Of a span's place in its trace nothing else is asked.
const fieldRoot storage.Field = 255

// intrinsics are the fields that are no attributes.
var intrinsics = map[string]storage.Field{
	"name": storage.FieldName, "span:name": storage.FieldName,
	"kind": storage.FieldKind, "span:kind": storage.FieldKind,
	"status": storage.FieldStatus, "span:status": storage.FieldStatus,
	"statusMessage": storage.FieldStatusMessage, "span:statusMessage": storage.FieldStatusMessage,
	"duration": storage.FieldDuration, "span:duration": storage.FieldDuration,
	"span:id": storage.FieldSpanID, "span:parentID": storage.FieldParentID, "trace:id": storage.FieldTraceID,
	"rootServiceName": storage.FieldTraceService, "trace:rootService": storage.FieldTraceService,
	"rootName": storage.FieldTraceName, "trace:rootName": storage.FieldTraceName,
	"traceDuration": storage.FieldTraceDuration, "trace:duration": storage.FieldTraceDuration,
	"event:name": storage.FieldEventName, "instrumentation:name": storage.FieldScopeName, "instrumentation:version": storage.FieldScopeVersion,
	"nestedSetParent": fieldRoot,
}

// scopes begin the names of attributes.
var scopes = []struct {
	prefix string
	field  storage.Field
}{
	{"resource.", storage.FieldResourceAttribute}, {"span.", storage.FieldSpanAttribute}, {"event.", storage.FieldEventAttribute}, {".", storage.FieldAttribute},
}

const serviceName = "service.name"

// field reads the name of a field, and gives it without its scope as well.
func (p *qlParser) field() (storage.FieldRef, string, error) {
	p.space()
	for _, s := range scopes {
		if !strings.HasPrefix(p.text[p.at:], s.prefix) {
			continue
		}
		p.at += len(s.prefix)
		key, err := p.key()
		if err != nil {
			return storage.FieldRef{}, "", err
		}
		if key == serviceName && (s.field == storage.FieldResourceAttribute || s.field == storage.FieldAttribute) {
			return storage.FieldRef{Field: storage.FieldService}, key, nil // which the table is ordered by
		}
		return storage.FieldRef{Field: s.field, Key: key}, key, nil
	}
	start := p.at
	name := p.word()
	field, ok := intrinsics[name]
	if !ok {
		p.at = start
		return storage.FieldRef{}, "", p.wrong("%.40q is no field that can be searched for; attributes are written resource.key, span.key, event.key or .key", name)
	}
	return storage.FieldRef{Field: field}, name, nil
}

// key reads the key of an attribute, parts of which may be in quotes.
func (p *qlParser) key() (string, error) {
	var key strings.Builder
	for {
		key.WriteString(p.word())
		if p.at >= len(p.text) || p.text[p.at] != '"' {
			break
		}
		part, err := p.quoted()
		if err != nil {
			return "", err
		}
		key.WriteString(part)
	}
	if key.Len() == 0 {
		return "", p.wrong("expected the key of an attribute")
	}
	return key.String(), nil
}

// quoted reads a text in quotes.
func (p *qlParser) quoted() (string, error) {
	quote := p.text[p.at]
	end := p.at + 1
	for end < len(p.text) && p.text[end] != quote {
		if p.text[end] == '\\' && quote == '"' {
			end++
		}
		end++
	}
	if end >= len(p.text) {
		return "", p.wrong("this text does not end")
	}
	raw := p.text[p.at : end+1]
	if quote == '`' {
		p.at = end + 1
		return raw[1 : len(raw)-1], nil
	}
	text, err := strconv.Unquote(strings.ReplaceAll(raw, "\n", `\n`))
	if err != nil {
		return "", p.wrong("%.40s is not a text as TraceQL quotes it", raw)
	}
	p.at = end + 1
	return text, nil
}

// A value is of a kind.
type valueKind uint8

const (
	valueText valueKind = iota
	valueNumber
	valueDuration // in nanoseconds
	valueWord
	valueNil
)

type qlValue struct {
	kind valueKind
	text string
}

// words are the values that are written without quotes.
var words = []string{"true", "false", "nil", "ok", "error", "unset", "server", "client", "producer", "consumer", "internal", "unspecified"}

// isValue says whether a value is next, and not a field.
func (p *qlParser) isValue() bool {
	if p.at >= len(p.text) {
		return false
	}
	c := p.text[p.at]
	if c == '"' || c == '`' || c == '-' || c >= '0' && c <= '9' {
		return true
	}
	start := p.at
	word := p.word()
	p.at = start
	return slices.Contains(words, word)
}

func (p *qlParser) value() (qlValue, error) {
	if c := p.text[p.at]; c == '"' || c == '`' {
		text, err := p.quoted()
		return qlValue{valueText, text}, err
	}
	start := p.at
	word := p.word()
	switch {
	case word == "nil":
		return qlValue{kind: valueNil}, nil
	case slices.Contains(words, word):
		return qlValue{valueWord, word}, nil
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return qlValue{valueNumber, strconv.FormatInt(n, 10)}, nil
	}
	if n, err := strconv.ParseFloat(word, 64); err == nil && n-n == 0 { // neither infinite nor no number
		return qlValue{valueNumber, strconv.FormatFloat(n, 'g', -1, 64)}, nil
	}
	if d, err := duration(word); err == nil {
		return qlValue{valueDuration, strconv.FormatInt(int64(d), 10)}, nil
	}
	p.at = start
	return qlValue{}, p.wrong("%.40q is neither a number nor a duration", word)
}

// duration reads a duration, of days as well.
func duration(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n >= 0 && n < 100_000 {
			return time.Duration(n) * day, nil
		}
	}
	return time.ParseDuration(text)
}

// name remembers a field that the query names.
func (p *qlParser) name(f storage.FieldRef, name string) {
	switch f.Field {
	case storage.FieldName, storage.FieldDuration, storage.FieldTraceService, storage.FieldTraceName, storage.FieldTraceDuration, storage.FieldTraceID, storage.FieldSpanID, fieldRoot, storage.FieldEventAttribute:
		return
	default:
	}
	named := namedField{f, name}
	if len(p.found.named) < namedMax && !slices.Contains(p.found.named, named) {
		p.found.named = append(p.found.named, named)
	}
}

// compare checks that a field and a value fit each other.
func (p *qlParser) compare(f storage.FieldRef, name string, op storage.Op, v qlValue) (storage.Match, error) {
	p.name(f, name)
	m := storage.Match{Field: f.Field, Key: f.Key, Op: op, Values: []string{v.text}}
	if v.kind == valueNil {
		m.Values = nil
		switch {
		case f.Field == fieldRoot:
			return m, p.wrong("%s is compared with 0 alone", name)
		case op == storage.OpEqual:
			m.Op = storage.OpMissing
			return m, p.always(&m, name)
		case op == storage.OpNotEqual:
			m.Op = storage.OpExists
			return m, p.always(&m, name)
		}
		return m, p.wrong("nil is compared by = and != alone")
	}
	switch f.Field {
	case fieldRoot:
		return p.root(op, v)
	case storage.FieldDuration, storage.FieldTraceDuration:
		if v.kind != valueDuration && v.kind != valueNumber || op == storage.OpMatch || op == storage.OpNotMatch {
			return m, p.wrong("%s is compared with a duration, like 100ms", name)
		}
		return m, nil
	case storage.FieldKind, storage.FieldStatus:
		return p.oneOf(m, name)
	default:
	}
	switch op {
	case storage.OpMatch, storage.OpNotMatch:
		return p.pattern(m, v)
	case storage.OpEqual, storage.OpNotEqual:
		return equal(m, v), nil
	default:
	}
	if v.kind != valueNumber && v.kind != valueDuration {
		return m, p.wrong("only numbers are less or greater than each other")
	}
	return m, nil
}

// equal compares fractions as numbers, which may be written in many ways, and all else as text.
func equal(m storage.Match, v qlValue) storage.Match {
	if v.kind != valueNumber || !strings.ContainsAny(v.text, ".e") {
		return m
	}
	low, high := m, m
	if m.Op == storage.OpEqual {
		low.Op, high.Op = storage.OpGreaterOrEqual, storage.OpLessOrEqual
		return storage.Match{All: []storage.Match{low, high}}
	}
	low.Op, high.Op = storage.OpLess, storage.OpGreater
	return storage.Match{Any: []storage.Match{low, high}}
}

// always refuses the question whether there is what every span has.
func (p *qlParser) always(m *storage.Match, name string) error {
	switch m.Field {
	case storage.FieldKind, storage.FieldStatus, storage.FieldDuration, storage.FieldTraceDuration, storage.FieldTraceService, storage.FieldTraceName, storage.FieldEventName:
		return p.wrong("every span has a %s: it is not compared with nil", name)
	default:
		return nil
	}
}

// root reads nestedSetParent < 0, by which roots are asked for, and its opposite.
func (p *qlParser) root(op storage.Op, v qlValue) (storage.Match, error) {
	m := storage.Match{Field: storage.FieldParentID}
	switch {
	case v.kind != valueNumber:
	case op == storage.OpLess && v.text == "0", op == storage.OpEqual && v.text == "-1":
		m.Op = storage.OpMissing
		return m, nil
	case op == storage.OpGreaterOrEqual && v.text == "0", op == storage.OpGreater && v.text == "-1", op == storage.OpNotEqual && v.text == "-1":
		m.Op = storage.OpExists
		return m, nil
	}
	return m, p.wrong("of nestedSetParent only < 0 and >= 0 are understood")
}

// oneOf is a comparison with a word of a closed set, or with several in a pattern.
func (p *qlParser) oneOf(m storage.Match, name string) (storage.Match, error) {
	switch m.Op {
	case storage.OpMatch:
		m.Op, m.Values = storage.OpEqual, strings.Split(m.Values[0], "|")
	case storage.OpNotMatch:
		m.Op, m.Values = storage.OpNotEqual, strings.Split(m.Values[0], "|")
	case storage.OpEqual, storage.OpNotEqual:
	default:
		return m, p.wrong("%s is not less or greater than another", name)
	}
	known := storage.Words(m.Field)
	for _, v := range m.Values {
		if !slices.Contains(known, v) {
			return m, p.wrong("%s is one of %s, and not %.40q", name, strings.Join(known, ", "), v)
		}
	}
	return m, nil
}

// pattern is a comparison with a regular expression. Several texts, as Grafana joins them, are looked for as they are: indexes find those.
func (p *qlParser) pattern(m storage.Match, v qlValue) (storage.Match, error) {
	if v.kind != valueText {
		return m, p.wrong("a regular expression stands in quotes")
	}
	if len(v.text) > regexBytesMax {
		return m, p.wrong("a regular expression of %d bytes; %d are read", len(v.text), regexBytesMax)
	}
	if _, err := regexp.Compile(v.text); err != nil {
		return m, p.wrong("%.80q is not a regular expression: %v", v.text, err)
	}
	var plain []string
	for part := range strings.SplitSeq(v.text, "|") {
		text := strings.ReplaceAll(part, `\`, "")
		if regexp.QuoteMeta(text) != part {
			return m, nil
		}
		plain = append(plain, text)
	}
	m.Values = plain
	if m.Op == storage.OpMatch {
		m.Op = storage.OpEqual
	} else {
		m.Op = storage.OpNotEqual
	}
	return m, nil
}
