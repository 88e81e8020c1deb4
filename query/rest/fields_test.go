package rest_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// TestSchemasHaveEveryField: those that an answer may leave out too.
func TestSchemasHaveEveryField(t *testing.T) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]reflect.Type{
		"Verdict": reflect.TypeFor[verdict.Verdict](), "Share": reflect.TypeFor[verdict.Share](), "Site": reflect.TypeFor[verdict.Site](), "Hop": reflect.TypeFor[verdict.Hop](),
		"Suspect": reflect.TypeFor[verdict.Suspect](), "OwnerRecord": reflect.TypeFor[catalog.Record](), "OwnerSource": reflect.TypeFor[catalog.Source](),
		"Finding": reflect.TypeFor[coverage.Finding](), "CoverageTotals": reflect.TypeFor[coverage.Totals](), "Resolution": reflect.TypeFor[ownership.Resolution](),
		"Amounts": reflect.TypeFor[query.Amounts](), "Part": reflect.TypeFor[query.Part](), "Recurrence": reflect.TypeFor[query.Recurrence](), "Neighbour": reflect.TypeFor[query.Neighbour](),
		"NowEntry": reflect.TypeFor[query.NowEntry](), "NowHop": reflect.TypeFor[query.NowHop](), "MapNode": reflect.TypeFor[query.MapNode](), "MapEdge": reflect.TypeFor[query.MapEdge](),
		"Attribution": reflect.TypeFor[query.AttributionRow](),
	} {
		properties := doc.Components.Schemas[name].Properties
		fields := make(map[string]bool)
		for f := range flat(kind) {
			fields[f] = true
			// Which rules were tried is not kept, and told by why-not alone.
			if properties[f] == nil && (name != "Verdict" || f != "tried") {
				t.Errorf("%s has no %s", name, f)
			}
		}
		for f := range properties {
			if !fields[f] {
				t.Errorf("%s has %s, which no answer has", name, f)
			}
		}
	}
}

// flat are the names of the fields in JSON, those of embedded structs among them.
func flat(kind reflect.Type) map[string]bool {
	names := make(map[string]bool)
	for f := range kind.Fields() {
		tag, tagged := f.Tag.Lookup("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && !tagged:
			for below := range flat(f.Type) {
				names[below] = true
			}
		case name != "-" && f.IsExported():
			names[name] = true
		}
	}
	return names
}
