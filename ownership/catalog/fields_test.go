package catalog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// linesOf is a record as lines of what is set in it, links last.
func linesOf(r Record) []string {
	var lines []string
	var fields func(prefix string, v reflect.Value)
	fields = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; {
			case name == "Charter":
				fields("", v.Field(i))
			case name == "Links" || v.Field(i).IsZero():
			case name == "Source":
				lines = append(lines, fmt.Sprintf("line %d", r.Source.Line))
			default:
				lines = append(lines, fmt.Sprintf("%s %v", name, v.Field(i)))
			}
		}
	}
	fields("", reflect.ValueOf(r))
	for _, l := range r.Links {
		lines = append(lines, l.Name+" = "+l.Target)
	}
	return lines
}

// expect compares records, and problems as "line: reason", each a line of the text.
func expect(t *testing.T, records []Record, problems []Problem, wantRecords, wantProblems string) {
	t.Helper()
	var got, wrong []string
	for _, r := range records {
		got = append(got, strings.Join(linesOf(r), "\n"))
	}
	for _, p := range problems {
		if p.File != "f" {
			t.Errorf("a problem is in file %q", p.File)
		}
		wrong = append(wrong, fmt.Sprintf("%d: %s", p.Line, p.Reason))
	}
	if got, want := strings.Join(got, "\n\n"), strings.TrimSpace(wantRecords); got != want {
		t.Errorf("records\n got\n%s\nwant\n%s", got, want)
	}
	if got, want := strings.Join(wrong, "\n"), strings.TrimSpace(wantProblems); got != want {
		t.Errorf("problems\n got\n%s\nwant\n%s", got, want)
	}
}

// keptBounds holds what every reader promises of every file: names that can be kept, sources that can be found, links that
// are few.
func keptBounds(t *testing.T, format string, records []Record, problems []Problem) {
	for _, r := range records {
		if (r.Name == "" && r.Kind != Path) || len(r.Name) > nameBytesMax || r.Kind == "" {
			t.Errorf("a %q is called %q", r.Kind, short(r.Name))
		}
		if r.Source.Format != format || r.Source.File != "f" || r.Source.Line < 1 {
			t.Errorf("%s has the source %+v", short(r.Name), r.Source)
		}
		if len(r.Links) > linksMax+1 {
			t.Errorf("%s has %d links", short(r.Name), len(r.Links))
		}
	}
	for _, p := range problems {
		if p.File != "f" || p.Reason == "" || len(p.Reason) > 4*linkBytesMax {
			t.Errorf("problem %+v", p)
		}
	}
}
