package main

import (
	"cmp"
	"path"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// scanFor is how long the scan is measured.
const scanFor = time.Second

// scan answers the questions by going through all records, as far as it gets, and says how many in a second. It must
// find an owner just where the registry does.
func scan(r *ownership.Registry, records []catalog.Record, list []ownership.Question) float64 {
	start, n := cpu(), 0
	for n < len(list) && cpu()-start < scanFor {
		q := &list[n]
		if got, want := scanned(records, q), r.Resolve(q).Rule; got != want {
			panic("the scan finds an owner by " + string(got) + ", the registry by " + string(want) + " of " + q.Service)
		}
		n++
	}
	return float64(n) / (cpu() - start).Seconds()
}

// scanned is the rule that names the owner. It looks for the first record that fits, not the best: the least work that a scan
// can do.
func scanned(records []catalog.Record, q *ownership.Question) ownership.Rule {
	found := func(fits func(*catalog.Record) bool) bool {
		for i := range records {
			if fits(&records[i]) {
				return true
			}
		}
		return false
	}
	glob := func(pattern, name string) bool {
		if !strings.ContainsAny(pattern, "*?") {
			return pattern == name
		}
		// path.Match stops at slashes: they are none here.
		ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(name, "/", "|"))
		return ok
	}
	scope := func(c *catalog.Record) bool {
		return (c.Namespace == "" || c.Namespace == q.Namespace) && (c.Environment == "" || c.Environment == q.Environment)
	}
	if q.Callee != "" {
		if found(func(c *catalog.Record) bool {
			return c.Kind == catalog.Edge && (c.Phase == "" || c.Phase == q.Phase || c.Phase == "network" && q.Phase == "connect") && glob(c.Callee, q.Callee) && glob(c.Caller, q.Service)
		}) {
			return ownership.ByEdge
		}
		return ownership.ByNobody
	}
	if q.Operation != "" && found(func(c *catalog.Record) bool {
		return c.Kind == catalog.Operation && glob(cmp.Or(c.Name, "*"), q.Service) && glob(c.Operation, q.Operation)
	}) {
		return ownership.ByOperation
	}
	if found(func(c *catalog.Record) bool {
		return c.Kind == catalog.Service && (glob(c.Name, q.Service) || len(c.Aliases) > 0 && glob(c.Aliases[0], q.Service)) && scope(c)
	}) {
		return ownership.ByService
	}
	if q.CodePath != "" && found(func(c *catalog.Record) bool {
		return c.Kind == catalog.Path && strings.HasPrefix("/"+q.CodePath, c.Pattern)
	}) {
		return ownership.ByPath
	}
	namespace := func() bool {
		return found(func(c *catalog.Record) bool { return c.Kind == catalog.Namespace && glob(c.Name, q.Namespace) })
	}
	if q.Attr != nil {
		for _, key := range settings.Attributes {
			if v, ok := q.Attr(key); ok && v != "" {
				if key == "service.namespace" && namespace() {
					return ownership.ByNamespace
				}
				return ownership.ByAttribute
			}
		}
	}
	if namespace() {
		return ownership.ByNamespace
	}
	return ownership.ByNobody
}
