package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// sarifSchema is what the schema of SARIF 2.1.0 demands of the objects that are written, and what hosts of code demand
// beyond it: properties that must be there, with their types, and no others.
const sarifSchema = `{
 "log": {"$schema": "string", "version": "=2.1.0", "runs": "run[]"},
 "run": {"tool": "tool", "columnKind": "=utf16CodeUnits", "results": "result[]"},
 "tool": {"driver": "driver"},
 "driver": {"name": "string", "version": "string", "informationUri": "string", "rules": "rule[]"},
 "rule": {"id": "string", "shortDescription": "text", "defaultConfiguration": "configuration"},
 "configuration": {"level": "level"},
 "text": {"text": "string"},
 "result": {"ruleId": "string", "ruleIndex": "number", "level": "level", "message": "text", "locations": "location[]", "relatedLocations?": "location[]"},
 "location": {"physicalLocation": "physical", "message?": "text"},
 "physical": {"artifactLocation": "artifact", "region": "region"},
 "artifact": {"uri": "string", "uriBaseId?": "=%SRCROOT%"},
 "region": {"startLine": "number"}
}`

// holdTo holds a value against a type of the schema above.
func holdTo(schema map[string]map[string]string, kind string, value any) error {
	if item, ok := strings.CutSuffix(kind, "[]"); ok {
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%v is no list", value)
		}
		for _, v := range list {
			if err := holdTo(schema, item, v); err != nil {
				return err
			}
		}
		return nil
	}
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch {
	case kind == "string" && isText && text != "", kind == "number" && isNumber && number >= 0, kind == "="+text && isText:
		return nil
	case kind == "level" && (text == "error" || text == "warning" || text == "note"):
		return nil
	}
	fields, ok := value.(map[string]any)
	if !ok || schema[kind] == nil {
		return fmt.Errorf("%v is no %s", value, kind)
	}
	known := 0
	for name, of := range schema[kind] {
		name, optional := strings.CutSuffix(name, "?")
		v, there := fields[name]
		if !there && optional {
			continue
		}
		if known++; !there {
			return fmt.Errorf("a %s without %s", kind, name)
		}
		if err := holdTo(schema, of, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if known != len(fields) {
		return fmt.Errorf("a %s with more than the schema has: %v", kind, fields)
	}
	return nil
}

func TestSARIF(t *testing.T) {
	var schema map[string]map[string]string
	if err := json.Unmarshal([]byte(sarifSchema), &schema); err != nil {
		t.Fatal(err)
	}
	findings := []Finding{
		{Rule: DanglingOwner, Severity: Error, File: "./services/a b/owners.yaml", Line: 7, Message: "a <b> & c"},
		{Rule: DuplicateOwner, Severity: Warning, File: `win\owners.yaml`, Message: "m", Other: &catalog.Source{File: "/srv/catalog/owners.yaml", Line: 3}},
	}
	write := func(findings []Finding) (text string, log struct {
		Runs []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID           string
				RuleIndex        int
				Level            string
				Locations        []place
				RelatedLocations []place
			}
		}
	},
	) {
		var out bytes.Buffer
		if err := WriteSARIF(&out, "dev", findings); err != nil {
			t.Fatal(err)
		}
		var anything any
		if err := json.Unmarshal(out.Bytes(), &anything); err != nil {
			t.Fatal(err)
		}
		if err := holdTo(schema, "log", anything); err != nil {
			t.Errorf("%v in %s", err, out.String())
		}
		if err := json.Unmarshal(out.Bytes(), &log); err != nil {
			t.Fatal(err)
		}
		return out.String(), log
	}
	text, log := write(findings)
	run := log.Runs[0]
	for i, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.RuleID != findings[i].Rule {
			t.Errorf("rule %d is not %s", r.RuleIndex, r.RuleID)
		}
	}
	for i, want := range []string{"services/a%20b/owners.yaml:7", "win/owners.yaml:1"} {
		if got := run.Results[i].Locations[0].String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := run.Results[1].RelatedLocations[0].String(); got != "file:///srv/catalog/owners.yaml:3" {
		t.Errorf("%s", got)
	}
	if !strings.Contains(text, "a <b> & c") {
		t.Error("what is no HTML was escaped")
	}
	if _, log := write(nil); log.Runs[0].Results == nil {
		t.Error("no findings are no list")
	}

	many := make([]Finding, resultsMax+10)
	for i := range many {
		many[i] = Finding{Rule: Shadowed, Severity: Warning, File: "a", Message: "m"}
	}
	many[len(many)-1].Severity = Error
	if _, log := write(many); len(log.Runs[0].Results) != resultsMax || log.Runs[0].Results[0].Level != "error" {
		t.Errorf("of too many: %d, the first %s", len(log.Runs[0].Results), log.Runs[0].Results[0].Level)
	}
}

type place struct {
	PhysicalLocation struct {
		ArtifactLocation struct{ URI string }
		Region           struct{ StartLine int }
	}
}

func (p place) String() string {
	return fmt.Sprint(p.PhysicalLocation.ArtifactLocation.URI, ":", p.PhysicalLocation.Region.StartLine)
}
