package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A table of spans that somebody else fills, as the OpenTelemetry ClickHouse exporter makes it, in any of its
// versions, is read through a view of our own database, which gives its columns the names and types of ours. When a
// span was stored, nobody has written down: its start stands for that.

// foreignView is that view.
const foreignView = "foreign_traces"

// UseTraces makes db read spans from another table, given as database.table. The table is only read.
func (db *DB) UseTraces(ctx context.Context, table string) error {
	database, name, ok := strings.Cut(table, ".")
	if !ok || database == "" || name == "" {
		return fmt.Errorf("storage.traces: %q is not like otel.otel_traces", table)
	}
	rows, err := db.conn.Query(ctx, "SELECT name, type FROM system.columns WHERE database = ? AND table = ?", database, name)
	if err != nil {
		return wrap("look at the columns of "+table, err)
	}
	defer func() { _ = rows.Close() }()
	types := make(map[string]string)
	for rows.Next() {
		var column, kind string
		if err := rows.Scan(&column, &kind); err != nil {
			return wrap("look at the columns of "+table, err)
		}
		types[column] = kind
	}
	if err := rows.Err(); err != nil {
		return wrap("look at the columns of "+table, err)
	}
	if len(types) == 0 {
		return fmt.Errorf("storage.traces: there is no table %s, or this user may not see it", table)
	}
	query, err := foreignSelect(quoteName(database)+"."+quoteName(name), types)
	if err != nil {
		return fmt.Errorf("storage.traces: %s: %w", table, err)
	}
	if err := db.conn.Exec(ctx, "CREATE OR REPLACE VIEW "+foreignView+" AS "+query); err != nil {
		what := "make a view of " + table
		if strings.Contains(query, "JSONAllValues") {
			what += ", whose attributes are JSON (that takes ClickHouse 26.4 or newer)"
		}
		return wrap(what, err)
	}
	db.spans, db.stored = foreignView, "Timestamp"
	return nil
}

// foreignColumns are the columns that are read, with their types here and what stands for a missing one, if it may
// be missing.
var foreignColumns = []struct{ name, kind, missing string }{
	{"Timestamp", "DateTime64(9)", ""},
	{"TraceId", "String", ""},
	{"SpanId", "String", ""},
	{"ParentSpanId", "String", ""},
	{"TraceState", "String", "''"},
	{"SpanName", "LowCardinality(String)", ""},
	{"SpanKind", "LowCardinality(String)", ""},
	{"ServiceName", "LowCardinality(String)", ""},
	{"ResourceAttributes", "Map(LowCardinality(String), String)", ""},
	{"ScopeName", "String", "''"},
	{"ScopeVersion", "String", "''"},
	{"SpanAttributes", "Map(LowCardinality(String), String)", ""},
	{"Duration", "UInt64", ""},
	{"StatusCode", "LowCardinality(String)", ""},
	{"StatusMessage", "String", "''"},
	{"Events.Timestamp", "Array(DateTime64(9))", "[]"},
	{"Events.Name", "Array(LowCardinality(String))", "[]"},
	{"Events.Attributes", "Array(Map(LowCardinality(String), String))", "[]"},
	{"Links.TraceId", "Array(String)", "[]"},
	{"Links.SpanId", "Array(String)", "[]"},
	{"Links.TraceState", "Array(String)", "[]"},
	{"Links.Attributes", "Array(Map(LowCardinality(String), String))", "[]"},
	{"ResourceSchemaUrl", "LowCardinality(String)", "''"},
	{"ScopeSchemaUrl", "LowCardinality(String)", "''"},
	{"SpanFlags", "UInt32", "0"},
	{"Extras", "String", "''"},
}

// foreignSelect reads a table with the given columns as if it were ours. What is as it is here is passed through, so
// that conditions on it reach the table's indexes.
func foreignSelect(table string, types map[string]string) (string, error) {
	var list strings.Builder
	var missing []string
	for i, c := range foreignColumns {
		name, has := quoteName(c.name), types[c.name]
		expression := name
		switch {
		case has == c.kind:
		case has == "" && c.missing == "":
			missing = append(missing, c.name)
		case has == "":
			expression = fmt.Sprintf("CAST(%s, '%s')", c.missing, c.kind)
		case strings.HasPrefix(has, "JSON"):
			expression = fmt.Sprintf("CAST(%s, '%s')", flattened(name), c.kind)
		case strings.HasPrefix(has, "Array(JSON"):
			expression = fmt.Sprintf("CAST(arrayMap(a -> %s, %s), '%s')", flattened("a"), name, c.kind)
		case strings.HasPrefix(c.kind, "UInt") && strings.HasPrefix(has, "Int"):
			expression = fmt.Sprintf("CAST(greatest(%s, 0), '%s')", name, c.kind)
		case c.name == "Timestamp":
			// A cast, and not a function: partitions are found through it.
			expression = "CAST(" + name + ", 'DateTime64(9, \\'UTC\\')')"
		default:
			expression = fmt.Sprintf("CAST(%s, '%s')", name, c.kind)
		}
		if i > 0 {
			list.WriteString(", ")
		}
		list.WriteString(expression + " AS " + name)
	}
	if len(missing) > 0 {
		return "", errors.New("there is no column " + strings.Join(missing, ", ") + ": is it a table of spans as the OpenTelemetry exporter makes it?")
	}
	suspect := suspectDefault()
	if strings.HasPrefix(types["SpanAttributes"], "JSON") {
		for _, m := range attributeOfMap.FindAllStringSubmatch(suspect, -1) {
			fmt.Fprintf(&list, ", CAST(theirs.SpanAttributes.`%[1]s`, 'String') AS `attribute %[1]s`", m[1])
		}
		suspect = attributeOfMap.ReplaceAllString(suspect, "`attribute $1`")
	}
	return "SELECT *, " + suspect + " AS Suspect, CAST(Timestamp, 'DateTime64(3)') AS IngestTime FROM (SELECT " + list.String() + " FROM " + table + " AS theirs)", nil
}

// attributeOfMap is where a condition looks an attribute up. Each path of a JSON column is a column of its own: selecting by
// some of them, which is done for every span, takes a sixtieth of the time that making the map does.
var attributeOfMap = regexp.MustCompile(`SpanAttributes\['([^']+)'\]`)

// flattened makes a map of attributes that are stored as JSON: "http.route" is a path in it. Both lists are in the order
// of the paths.
func flattened(json string) string {
	return fmt.Sprintf("mapFromArrays(JSONAllPaths(%[1]s), JSONAllValues(%[1]s))", json)
}

// suspectDefault is the condition that our own table has as the default of Suspect.
func suspectDefault() string {
	ddl, err := migrations.ReadFile("migrations/0001_init.sql")
	if err != nil {
		panic(err) // it is part of the program
	}
	_, after, _ := strings.Cut(string(ddl), "Suspect Bool DEFAULT")
	condition, _, _ := strings.Cut(after, " CODEC(")
	return "(" + strings.Join(strings.Fields(condition), " ") + ")"
}
