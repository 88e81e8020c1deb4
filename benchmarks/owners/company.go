package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

var settings = ownership.Config{
	Precedence: []string{"whosehop", "backstage", "codeowners"},
	Attributes: []string{"service.owner.name", "team", "owner", "service.namespace"},
}

const atNs = 1_795_000_000_000_000_000

// maker makes up a company: domains with services in them, whose names say where they belong.
type maker struct {
	rng       *rand.Rand
	services  []string
	spaces    []string // namespaces of the services
	paths     []string
	heldBytes int64
}

var (
	domains = []string{"payments", "checkout", "catalog", "search", "shipping", "identity", "ledger", "pricing", "media", "notify", "fraud", "loyalty", "returns", "inventory", "support", "reports"}
	parts   = []string{"api", "worker", "gateway", "sync", "batch", "consumer", "web", "store", "indexer", "proxy"}
	verbs   = []string{"GET", "POST", "PUT", "DELETE"}
	things  = []string{"orders", "refunds", "items", "carts", "users", "sessions", "invoices", "labels", "quotes", "reviews"}
	phases  = []string{"", "", "pool", "network", "queue", "budget", "contract"}
)

func newMaker(services int) *maker {
	m := &maker{rng: rand.New(rand.NewPCG(6, 11))}
	for i := range services {
		domain := domains[i%len(domains)]
		m.services = append(m.services, fmt.Sprintf("%s-%s-%s-%d", domain, things[i/len(domains)%len(things)], parts[m.rng.IntN(len(parts))], i))
		m.spaces = append(m.spaces, fmt.Sprintf("%s-%d", domain, i%7))
	}
	return m
}

func (m *maker) team() string { return fmt.Sprintf("team-%s-%d", m.one(domains), m.rng.IntN(20)) }

func (m *maker) one(of []string) string { return of[m.rng.IntN(len(of))] }

// records are the services and so many rules: four of ten are operations, three edges, two paths, and the rest globs,
// namespaces and second owners with an environment.
func (m *maker) records(rules int) []catalog.Record {
	began := heap()
	var all []catalog.Record
	add := func(c catalog.Record) {
		if c.Owner == "" && c.Accountable == "" && c.Kind != catalog.Team {
			c.Owner = m.team()
		}
		c.Source = catalog.Source{Format: "whosehop", File: "owners.yaml", Line: len(all) + 1}
		all = append(all, c)
	}
	for i, name := range m.services {
		c := catalog.Record{Kind: catalog.Service, Name: name, Namespace: m.spaces[i]}
		if i%5 == 0 {
			c.Aliases = []string{"legacy-" + name}
		}
		add(c)
	}
	for _, d := range domains {
		for i := range 20 {
			add(catalog.Record{Kind: catalog.Team, Name: fmt.Sprintf("team-%s-%d", d, i), Aliases: []string{fmt.Sprintf("@acme/%s-%d", d, i)}})
		}
	}
	for i := range rules {
		service := m.one(m.services)
		switch i % 20 {
		case 0, 1, 2, 3, 4, 5, 6:
			add(catalog.Record{Kind: catalog.Operation, Name: service, Operation: fmt.Sprintf("%s /v%d/%s*", m.one(verbs), 1+m.rng.IntN(3), m.one(things))})
		case 7:
			add(catalog.Record{Kind: catalog.Operation, Name: m.one(domains) + "-*", Operation: fmt.Sprintf("%s /admin/%d/*", m.one(verbs), i)})
		case 8, 9, 10, 11:
			add(catalog.Record{Kind: catalog.Edge, Caller: service, Callee: m.one(m.services), Phase: m.one(phases)})
		case 12:
			add(catalog.Record{Kind: catalog.Edge, Caller: "*", Callee: m.one(m.services), Phase: "queue", Accountable: "callee"})
		case 13:
			add(catalog.Record{Kind: catalog.Edge, Caller: m.one(domains) + "-*", Callee: m.one(m.services), Phase: "pool"})
		case 14, 15, 16, 17:
			path := fmt.Sprintf("services/%s/%s-%d/", m.one(domains), m.one(parts), i)
			m.paths = append(m.paths, path+"internal/charge.go")
			add(catalog.Record{Kind: catalog.Path, Pattern: "/" + path})
		case 18:
			add(m.glob(i))
		case 19:
			add(m.other(i, service))
		}
	}
	m.heldBytes = heap() - began
	return all
}

// glob is a rule for what has no record of its own.
func (m *maker) glob(i int) catalog.Record {
	name := fmt.Sprintf("%s-%s-canary-%d-*", m.one(domains), m.one(things), i)
	switch i / 20 % 4 {
	case 0:
		name = fmt.Sprintf("*-%s-%d-%s", m.one(things), i, m.one(parts))
	case 1:
		name = fmt.Sprintf("%s-*-%s-x%d", m.one(domains), m.one(parts), i)
	}
	return catalog.Record{Kind: catalog.Service, Name: name}
}

func (m *maker) other(i int, service string) catalog.Record {
	switch i / 20 % 3 {
	case 0:
		return catalog.Record{Kind: catalog.Namespace, Name: fmt.Sprintf("%s-space-%d", m.one(domains), i)}
	case 1:
		return catalog.Record{Kind: catalog.Namespace, Name: fmt.Sprintf("%s-%d-*", m.one(domains), i)}
	}
	return catalog.Record{Kind: catalog.Service, Name: service, Environment: fmt.Sprintf("staging-%d", i)}
}

// kind is questions of one kind.
type kind struct {
	name string
	one  func() ownership.Question
}

// list makes so many questions, of each kind in turn.
func list(kinds []kind, n int) []ownership.Question {
	all := make([]ownership.Question, n)
	for i := range all {
		all[i] = kinds[i%len(kinds)].one()
		all[i].AtNs, all[i].Environment = atNs, "prod"
	}
	return all
}

func (m *maker) kinds() []kind {
	resource := func(pairs ...string) func(string) (string, bool) {
		return func(key string) (string, bool) {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1], true
				}
			}
			return "", false
		}
	}
	of := func(name string, one func(service, space string) ownership.Question) kind {
		return kind{name, func() ownership.Question {
			at := m.rng.IntN(len(m.services))
			return one(m.services[at], m.spaces[at])
		}}
	}
	return []kind{
		of("a service by its name", func(service, space string) ownership.Question {
			return ownership.Question{Service: service, Namespace: space, Attr: resource("service.name", service)}
		}),
		of("a service by a glob", func(string, string) ownership.Question {
			return ownership.Question{Service: fmt.Sprintf("%s-%s-canary-%d-7f9c", m.one(domains), m.one(things), 20*m.rng.IntN(2500)+18), Namespace: "canary"}
		}),
		of("an operation", func(service, space string) ownership.Question {
			return ownership.Question{Service: service, Namespace: space, Operation: fmt.Sprintf("%s /v%d/%s/{id}", m.one(verbs), 1+m.rng.IntN(3), m.one(things))}
		}),
		of("an edge", func(service, _ string) ownership.Question {
			return ownership.Question{Service: service, Callee: m.one(m.services), Phase: strings.Replace(m.one(phases), "network", "connect", 1)}
		}),
		of("a code path", func(string, string) ownership.Question {
			return ownership.Question{Service: "unlisted", CodePath: m.one(m.paths)}
		}),
		of("an attribute", func(string, string) ownership.Question {
			return ownership.Question{Service: m.one(domains) + "-unlisted", Namespace: "nowhere", Attr: resource("service.name", "x", "team", m.team())}
		}),
		of("a namespace", func(string, string) ownership.Question {
			space := fmt.Sprintf("%s-space-%d", m.one(domains), 60*m.rng.IntN(800)+19)
			return ownership.Question{Service: m.one(domains) + "-unlisted", Namespace: space, Attr: resource("service.namespace", space)}
		}),
		of("nobody's", func(string, string) ownership.Question {
			return ownership.Question{Service: m.one(domains) + "-unlisted-" + m.one(parts), Namespace: "nowhere", Attr: resource("service.name", "x")}
		}),
	}
}
