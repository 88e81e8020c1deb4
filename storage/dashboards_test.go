package storage_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
)

// grafanaSQL is what Grafana's ClickHouse data source sends for a query of a dashboard: for all owners, or for one.
func grafanaSQL(t *testing.T, sql, database string, from, to time.Time, owner string) string {
	t.Helper()
	const conditional = "$__conditionalAll("
	for at := strings.Index(sql, conditional); at >= 0; at = strings.Index(sql, conditional) {
		depth, end := 1, at+len(conditional)
		for ; depth > 0; end++ {
			if end == len(sql) {
				t.Fatalf("%s: a parenthesis is not closed", sql)
			}
			depth += strings.Count("(", sql[end:end+1]) - strings.Count(")", sql[end:end+1])
		}
		inside := sql[at+len(conditional) : end-1]
		condition := inside[:strings.LastIndex(inside, ",")]
		if owner == "" {
			condition = "1=1"
		}
		sql = sql[:at] + condition + sql[end:]
	}
	seconds := func(t time.Time) string { return fmt.Sprintf("toDateTime(%d)", t.Unix()) }
	sql = regexp.MustCompile(`\$__timeFilter\(([^()]*)\)`).ReplaceAllString(sql, "$1 >= "+seconds(from)+" AND $1 <= "+seconds(to))
	sql = regexp.MustCompile(`\$__timeInterval\(([^()]*)\)`).ReplaceAllString(sql, "toStartOfInterval(toDateTime($1), INTERVAL 60 second)")
	return strings.NewReplacer("${database}", database, "${owner:singlequote}", "'"+owner+"', 'somebody else'").Replace(sql)
}

// dashboardQueries are the SQL of all dashboards, by where it is, and whether it is to be drawn over time.
func dashboardQueries(t *testing.T) (queries map[string]string, overTime map[string]bool) {
	t.Helper()
	files, err := filepath.Glob("../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	queries, overTime = make(map[string]string), make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Templating struct {
				List []struct {
					Name  string
					Query any
				}
			}
			Panels []struct {
				Title, Type string
				Targets     []struct{ RawSQL, QueryType string }
			}
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, v := range d.Templating.List {
			if q, ok := v.Query.(map[string]any); ok {
				if sql, ok := q["rawSql"].(string); ok {
					queries["variable "+v.Name] = sql
				}
			}
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				if q.RawSQL != "" {
					queries[p.Title] = q.RawSQL
					overTime[p.Title] = q.QueryType == "timeseries"
					if overTime[p.Title] != (p.Type == "timeseries") {
						t.Errorf("%q is drawn as %s, and asked for as %s", p.Title, p.Type, q.QueryType)
					}
				}
			}
		}
	}
	if len(queries) < 5 {
		t.Fatalf("%d queries", len(queries))
	}
	return queries, overTime
}

// TestDashboardsRun: the SQL of Grafana's dashboards runs on our tables, and finds what is there.
func TestDashboardsRun(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	hour := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
	insertCalled(t, conn, "otel_traces", randomTraffic(rand.New(rand.NewPCG(3, 4)), hour, 50*time.Minute, 50))
	if err := db.MakeTraffic(t.Context(), hour, hour.Add(time.Hour), storage.ByHour); err != nil {
		t.Fatal(err)
	}
	for n := range byte(5) {
		j := judged(n+1, 1, hour.Add(time.Duration(n)*time.Minute), "team-a")
		if err := db.WriteJudged(t.Context(), slices.Values([]*storage.JudgedTrace{&j})); err != nil {
			t.Fatal(err)
		}
	}
	db.SetJudgedSlack(0)
	if _, err := db.RollUp(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	database := currentDatabase(t, conn)
	queries, overTime := dashboardQueries(t)
	for title, sql := range queries {
		for _, owner := range []string{"", "team-a"} {
			asked := grafanaSQL(t, sql, database, hour.Add(-time.Hour), hour.Add(4*time.Hour), owner)
			if strings.Contains(asked, "$") {
				t.Errorf("%q: nobody fills this in: %s", title, asked)
				continue
			}
			columns, rows := runQuery(t, conn, title, asked)
			if rows == 0 {
				t.Errorf("%q finds nothing: %s", title, asked)
			}
			if overTime[title] && (len(columns) != 3 || columns[0] != "time DateTime" || !strings.Contains(columns[1], "String")) {
				t.Errorf("%q: %v cannot be drawn over time", title, columns)
			}
		}
	}
}

// runQuery gives the columns of an answer, with their types, and how many rows it has.
func runQuery(t *testing.T, conn clickhouse.Conn, title, sql string) (columns []string, n int) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Errorf("%q: %v\n%s", title, err, sql)
		return nil, 0
	}
	defer func() { _ = rows.Close() }()
	for _, c := range rows.ColumnTypes() {
		columns = append(columns, c.Name()+" "+strings.ReplaceAll(c.DatabaseTypeName(), "('UTC')", ""))
	}
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%q: %v\n%s", title, err, sql)
	}
	return columns, n
}
