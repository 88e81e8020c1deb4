// Package openapitest holds answers against an OpenAPI document, for tests: what the document does not tell of may not be there.
package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Document is an OpenAPI document, version 3.1.
type Document struct {
	Paths      map[string]map[string]Operation
	Components struct {
		Schemas   map[string]any
		Responses map[string]Response
	}
}

// Operation is a method of a path.
type Operation struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	Responses   map[string]Response
}

// Response is what may be answered; with Ref it is one of the components.
type Response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema any }
}

// Load reads a document.
func Load(text []byte) (*Document, error) {
	d := new(Document)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	for _, schema := range d.Components.Schemas {
		tighten(schema)
	}
	return d, nil
}

// tighten makes a schema refuse what it does not tell of, and look for others where Check puts them.
func tighten(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, open := s["additionalProperties"]; s["properties"] != nil && !open {
			s["additionalProperties"] = false
		}
		if ref, ok := s["$ref"].(string); ok {
			s["$ref"] = strings.Replace(ref, "#/components/schemas/", "#/$defs/", 1)
		}
		for _, below := range s {
			tighten(below)
		}
	case []any:
		for _, below := range s {
			tighten(below)
		}
	}
}

// Find is the operation of a request, and the path in the document.
func (d *Document) Find(method, path string) (*Operation, string, error) {
	best := ""
	for candidate := range d.Paths {
		if fits(candidate, path) && (best == "" || strings.Count(candidate, "{") < strings.Count(best, "{")) {
			best = candidate
		}
	}
	operation, ok := d.Paths[best][strings.ToLower(method)]
	if !ok {
		return nil, "", fmt.Errorf("the document has no %s %s", method, path)
	}
	return &operation, best, nil
}

func fits(template, path string) bool {
	a, b := strings.Split(template, "/"), strings.Split(path, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !strings.HasPrefix(a[i], "{") {
			return false
		}
	}
	return true
}

// Check says what is wrong with an answer.
func (d *Document) Check(r *http.Request, status int, header http.Header, body []byte) error {
	operation, _, err := d.Find(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	response, ok := operation.Responses[strconv.Itoa(status)]
	if !ok {
		return fmt.Errorf("the document knows no %d of %s %s", status, r.Method, r.URL.Path)
	}
	if name, ok := strings.CutPrefix(response.Ref, "#/components/responses/"); ok {
		response = d.Components.Responses[name]
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("read the type of the answer: %w", err)
	}
	content, ok := response.Content[kind]
	if !ok {
		return fmt.Errorf("the document knows no %s of %s %s", kind, r.Method, r.URL.Path)
	}
	if !strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "ndjson") {
		return nil
	}
	tighten(content.Schema)
	text, err := json.Marshal(map[string]any{"$defs": d.Components.Schemas, "allOf": []any{content.Schema}})
	if err != nil {
		return fmt.Errorf("write the schema: %w", err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		return fmt.Errorf("read the schema of %s %s: %w", r.Method, r.URL.Path, err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return fmt.Errorf("resolve the schema of %s %s: %w", r.Method, r.URL.Path, err)
	}
	var answer any
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if err := resolved.Validate(answer); err != nil {
		return fmt.Errorf("%s %s answers what the document does not say: %w; %.500s", r.Method, r.URL, err, body)
	}
	return nil
}
