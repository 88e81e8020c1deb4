// Package ownership says who owns a service.
package ownership

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Unowned is the owner of what nobody owns.
const Unowned = "unowned"

// fileBytesMax bounds a registry file: a hundred thousand services.
const fileBytesMax = 16 << 20

// Registry resolves services to owners. It does not change and is safe for concurrent use.
//
// The order is: an entry of the file for exactly this service, then the first entry whose globs fit,
// then the first of the resource attributes that is set, then Unowned.
type Registry struct {
	exact      map[string][]entry // by service name
	globs      []entry
	attributes []string
}

type entry struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
	Owner     string `yaml:"owner"`
}

// New is a registry without a file: owners come from resource attributes alone.
func New(attributes []string) *Registry { return &Registry{attributes: attributes} }

// Load reads a registry file:
//
//	services:
//	  - name: pay*            # a service.name; * and ? are wild
//	    namespace: shop       # optional, a service.namespace, wild as well
//	    owner: team-payments
func Load(file string, attributes []string) (*Registry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("ownership.file: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("ownership.file: %w", err)
	}
	r, err := Parse(data, attributes)
	if err != nil {
		return nil, fmt.Errorf("ownership.file %s: %w", file, err)
	}
	return r, nil
}

// Parse is Load for the content of a file.
func Parse(data []byte, attributes []string) (*Registry, error) {
	if len(data) > fileBytesMax {
		return nil, fmt.Errorf("larger than %d bytes", fileBytesMax)
	}
	var file struct {
		Services []entry `yaml:"services"`
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("not a registry: %w", err)
	} else if err == nil && !errors.Is(d.Decode(new(yaml.Node)), io.EOF) {
		return nil, errors.New("not a registry: more than one document")
	}
	r := &Registry{exact: make(map[string][]entry), attributes: attributes}
	for i, e := range file.Services {
		if e.Name == "" || strings.TrimSpace(e.Owner) == "" {
			return nil, fmt.Errorf("services[%d]: name and owner must be given", i)
		}
		for _, pattern := range []string{e.Name, e.Namespace} {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("services[%d]: %q: %w", i, pattern, err)
			}
		}
		e.Name, e.Namespace = flat(e.Name), flat(e.Namespace)
		if wild(e.Name) || wild(e.Namespace) {
			r.globs = append(r.globs, e)
		} else {
			r.exact[e.Name] = append(r.exact[e.Name], e)
		}
	}
	return r, nil
}

// flat takes the slashes out of a name: path.Match has * and ? stop at them, and services are no paths.
func flat(name string) string { return strings.ReplaceAll(name, "/", "\x00") }

func wild(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

// Owner is the owner of a service; attr looks a resource attribute up.
func (r *Registry) Owner(service, namespace string, attr func(string) (string, bool)) string {
	service, namespace = flat(service), flat(namespace)
	for _, e := range r.exact[service] {
		if e.Namespace == "" || e.Namespace == namespace {
			return e.Owner
		}
	}
	for _, e := range r.globs {
		if fits(e.Name, service) && (e.Namespace == "" || fits(e.Namespace, namespace)) {
			return e.Owner
		}
	}
	for _, key := range r.attributes {
		if v, ok := attr(key); ok && v != "" {
			return v
		}
	}
	return Unowned
}

func fits(pattern, name string) bool {
	ok, _ := path.Match(pattern, name) // the pattern was tried when it was loaded
	return ok
}
