package tracefile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// foreignIDs finds ids that are not hexadecimal digits but base64, as protobuf's own JSON writes bytes: 16
// of them are 24 characters.
var foreignIDs = regexp.MustCompile(`"trace_?[iI][dD]"\s*:\s*"[A-Za-z0-9+/]{22}=="`)

// readTempo reads the answers of Tempo's /api/traces ("batches") and /api/v2/traces ("trace"): OTLP by
// other names, with ids in base64.
func readTempo(value []byte, b *spans.Block) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return fmt.Errorf("read as Tempo JSON: %w", err)
	}
	if inner, ok := object["trace"].(map[string]any); ok {
		object = inner
	}
	if batches, ok := object["batches"]; ok {
		object = map[string]any{"resourceSpans": batches}
	}
	for _, resource := range objects(object["resourceSpans"]) {
		if old, ok := resource["instrumentationLibrarySpans"]; ok {
			resource["scopeSpans"] = old
			delete(resource, "instrumentationLibrarySpans")
		}
		for _, scope := range objects(resource["scopeSpans"]) {
			if old, ok := scope["instrumentationLibrary"]; ok {
				scope["scope"] = old
				delete(scope, "instrumentationLibrary")
			}
			for _, span := range objects(scope["spans"]) {
				inHex(span)
				for _, link := range objects(span["links"]) {
					inHex(link)
				}
			}
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("read as Tempo JSON: %w", err)
	}
	_, err = otlp.DecodeJSON(text, b)
	return err
}

// objects are the members of a list that are objects.
func objects(list any) []map[string]any {
	items, _ := list.([]any)
	found := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			found = append(found, object)
		}
	}
	return found
}

// inHex rewrites ids that are base64. Of 8 bytes these are 12 characters, of 16 bytes 24: no length that
// hexadecimal digits of an id have.
func inHex(of map[string]any) {
	for _, key := range [...]string{"traceId", "spanId", "parentSpanId"} {
		text, _ := of[key].(string)
		if len(text) != 12 && len(text) != 24 {
			continue
		}
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
			of[key] = hex.EncodeToString(raw)
		}
	}
}
