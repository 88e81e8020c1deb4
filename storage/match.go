package storage

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Match is a condition on a span: that all of All hold, where there are any; else that one of Any does, where there are any; else a
// comparison, of which any of Values will do. The zero Match holds for every span.
type Match struct {
	All, Any []Match

	Field  Field
	Key    string // of an attribute
	Op     Op
	Values []string
}

// Field is what of a span is compared.
type Field uint8

// The fields. Those that begin with FieldTrace are of the span's trace, and of that its root says them.
const (
	FieldNone Field = iota
	FieldService
	FieldName
	FieldKind   // internal, server, client, producer, consumer or unspecified
	FieldStatus // ok, error or unset
	FieldStatusMessage
	FieldDuration          // in nanoseconds
	FieldAttribute         // of the span or of its resource
	FieldSpanAttribute     // of the span
	FieldResourceAttribute // of the resource
	FieldEventName
	FieldEventAttribute
	FieldScopeName
	FieldScopeVersion
	FieldTraceID
	FieldSpanID
	FieldParentID
	FieldTraceService
	FieldTraceName
	FieldTraceDuration // in nanoseconds
)

// Op is how it is compared. What is not there equals nothing, and does not differ from anything either.
type Op uint8

// The comparisons. Those of size are of numbers.
const (
	OpEqual Op = iota
	OpNotEqual
	OpMatch    // a regular expression fits all of the text
	OpNotMatch // none does
	OpLess
	OpLessOrEqual
	OpGreater
	OpGreaterOrEqual
	OpExists
	OpMissing
)

var sizes = map[Op]string{OpLess: "<", OpLessOrEqual: "<=", OpGreater: ">", OpGreaterOrEqual: ">="}

// columnsOf are the columns that hold a text.
var columnsOf = map[Field]string{
	FieldService: "ServiceName", FieldName: "SpanName", FieldStatusMessage: "StatusMessage", FieldScopeName: "ScopeName", FieldScopeVersion: "ScopeVersion",
	FieldTraceID: "TraceId", FieldSpanID: "SpanId", FieldParentID: "ParentSpanId",
}

// spellings of a closed set of values, as we and as exporters of any version write them.
var spellings = map[Field]map[string][]string{
	FieldKind: {
		"internal": {"Internal", "SPAN_KIND_INTERNAL"}, "server": {"Server", "SPAN_KIND_SERVER"}, "client": {"Client", "SPAN_KIND_CLIENT"},
		"producer": {"Producer", "SPAN_KIND_PRODUCER"}, "consumer": {"Consumer", "SPAN_KIND_CONSUMER"}, "unspecified": {"Unspecified", "SPAN_KIND_UNSPECIFIED", ""},
	},
	FieldStatus: {"ok": {"Ok", "STATUS_CODE_OK"}, "error": {"Error", "STATUS_CODE_ERROR"}, "unset": {"Unset", "STATUS_CODE_UNSET", ""}},
}

// split makes two conditions of one for an attribute of the span or of its resource: either holds where this one does. Together, as
// ClickHouse reads them, neither finds the rows by the indexes over the attributes of spans, which leave out nearly all.
func (m *Match) split() []Match {
	if len(m.All) == 0 && len(m.Any) == 0 && m.Field == FieldAttribute && m.Op == OpEqual {
		of := [2]Match{*m, *m}
		of[0].Field, of[1].Field = FieldSpanAttribute, FieldResourceAttribute
		return of[:]
	}
	for i := range m.All {
		parts := m.All[i].split()
		if len(parts) == 1 {
			continue
		}
		whole := make([]Match, len(parts))
		for k := range parts {
			whole[k].All = slices.Clone(m.All)
			whole[k].All[i] = parts[k]
		}
		return whole
	}
	return []Match{*m}
}

// Words are the values that a field of a closed set has.
func Words(f Field) []string { return slices.Sorted(maps.Keys(spellings[f])) }

// where is the condition as ClickHouse reads it. Traces are looked for within a time, which is a condition too.
func (db *DB) where(m *Match, during string) string {
	switch {
	case len(m.All) > 0:
		return db.joined(m.All, " AND ", during)
	case len(m.Any) > 0:
		return db.joined(m.Any, " OR ", during)
	}
	switch m.Field {
	case FieldNone:
		return "1"
	case FieldKind, FieldStatus:
		column := map[Field]string{FieldKind: "SpanKind", FieldStatus: "StatusCode"}[m.Field]
		var all []string
		for _, value := range m.Values {
			all = append(all, spellings[m.Field][value]...)
		}
		not := ""
		if m.Op == OpNotEqual || m.Op == OpNotMatch {
			not = "NOT "
		}
		return column + " " + not + "IN (" + quoteAll(all) + ")"
	case FieldDuration:
		return number("toFloat64(Duration)", m)
	case FieldTraceService, FieldTraceName, FieldTraceDuration:
		of := *m
		of.Field = map[Field]Field{FieldTraceService: FieldService, FieldTraceName: FieldName, FieldTraceDuration: FieldDuration}[m.Field]
		return "TraceId IN (SELECT TraceId FROM " + db.spans + " WHERE " + during + " AND ParentSpanId = '' AND " + db.where(&of, during) + ")"
	case FieldAttribute:
		return "(" + attribute("SpanAttributes", m) + bothOrEither(m.Op) + attribute("ResourceAttributes", m) + ")"
	case FieldSpanAttribute:
		return attribute("SpanAttributes", m)
	case FieldResourceAttribute:
		return attribute("ResourceAttributes", m)
	case FieldEventName:
		return "arrayExists(e -> " + text("e", "1", m) + ", Events.Name)"
	case FieldEventAttribute:
		return "arrayExists(e -> " + attribute("e", m) + ", Events.Attributes)"
	default:
		column := columnsOf[m.Field]
		return text(column, column+" != ''", m)
	}
}

func (db *DB) joined(list []Match, by, during string) string {
	parts := make([]string, len(list))
	for i := range list {
		parts[i] = db.where(&list[i], during)
	}
	return "(" + strings.Join(parts, by) + ")"
}

// bothOrEither joins what is asked of two maps: a key is missing where neither has it.
func bothOrEither(op Op) string {
	if op == OpMissing {
		return " AND "
	}
	return " OR "
}

func attribute(column string, m *Match) string {
	key := quoteText(m.Key)
	value, there := column+"["+key+"]", "mapContains("+column+", "+key+")"
	if _, ok := sizes[m.Op]; ok {
		return number("toFloat64OrNull("+value+")", m)
	}
	return text(value, there, m)
}

// text compares a text, which is there under a condition.
func text(of, there string, m *Match) string {
	switch m.Op {
	case OpEqual:
		if len(m.Values) == 1 && m.Values[0] != "" {
			return of + " = " + quoteText(m.Values[0]) // the form that indexes are found by
		}
		return "(" + there + " AND " + of + " IN (" + quoteAll(m.Values) + "))"
	case OpNotEqual:
		return "(" + there + " AND " + of + " NOT IN (" + quoteAll(m.Values) + "))"
	case OpMatch, OpNotMatch:
		not := ""
		if m.Op == OpNotMatch {
			not = "NOT "
		}
		parts := make([]string, len(m.Values))
		for i, v := range m.Values {
			parts[i] = "match(" + of + ", " + quoteText("^(?:"+v+")$") + ")"
		}
		return "(" + there + " AND " + not + "(" + strings.Join(parts, " OR ") + "))"
	case OpExists:
		return "(" + there + ")"
	case OpMissing:
		return "NOT (" + there + ")"
	default:
		return number("toFloat64OrNull("+of+")", m)
	}
}

// number compares a number, which is NULL for a text that is none. A value that is none fits nothing.
func number(of string, m *Match) string {
	parts := make([]string, 0, len(m.Values))
	for _, v := range m.Values {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			continue
		}
		op := sizes[m.Op]
		switch m.Op {
		case OpEqual:
			op = "="
		case OpNotEqual:
			op = "!="
		}
		if op != "" {
			parts = append(parts, fmt.Sprintf("ifNull(%s %s toFloat64('%s'), 0)", of, op, strconv.FormatFloat(n, 'g', -1, 64)))
		}
	}
	switch {
	case m.Op == OpExists:
		return "1"
	case len(parts) == 0:
		return "0"
	case m.Op == OpNotEqual:
		return "(" + strings.Join(parts, " AND ") + ")"
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

func quoteAll(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quoteText(v)
	}
	if len(quoted) == 0 {
		return "NULL" // IN () is no SQL
	}
	return strings.Join(quoted, ", ")
}
