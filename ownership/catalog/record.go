// Package catalog reads what companies already write down about who owns what: their service catalogs, CODEOWNERS and
// Kubernetes manifests. Each format is one file here, and a pure function from bytes to records.
package catalog

import "time"

// Kind is what a record is about.
type Kind string

// The kinds. A path is a pattern of source files, for spans that say which code they ran.
const (
	Service    Kind = "service"
	Datastore  Kind = "datastore"
	Queue      Kind = "queue"
	ThirdParty Kind = "third-party"
	Operation  Kind = "operation"
	Edge       Kind = "edge"
	Path       Kind = "path"
	Team       Kind = "team"
	// Namespace is about all services of a namespace that nothing else names.
	Namespace Kind = "namespace"
)

// Record is what one source says of one thing.
type Record struct {
	Kind Kind
	// Name is that of the service, datastore, queue, third party or team; of an operation, that of its service.
	Name        string
	Namespace   string   // service.namespace, or the namespace that the source files it under; empty means any
	Environment string   // deployment.environment.name; empty means any
	Aliases     []string // other names that the same thing goes by
	// Operation is a glob of span names, of an operation alone.
	Operation string
	// Caller and Callee are globs of services, and Phase is one of network, queue, pool, budget and contract or empty for
	// all, of an edge alone.
	Caller, Callee, Phase string
	// Pattern is that of source files, in the source's own syntax, of a path alone.
	Pattern string

	// Owner is the name of a team or a person, as the source has it, without kind and namespace; Owners are others beside
	// it. An empty owner says that nobody owns it, where a source can say that (CODEOWNERS can).
	Owner  string
	Owners []string

	Charter
	// From and Until bound when the record holds; zero bounds nothing.
	From, Until time.Time
	// Links are what else the source has to say, unknown fields among it: never anything secret.
	Links  []Link
	Source Source
}

// Charter is what an owner promises, and how the owner is reached.
type Charter struct {
	OnCall     string   // where who is on call is found: a URL, or a schedule's id with the tool's name before it ("pagerduty:PXXXX")
	Escalation []string // who is called, in order
	Chat       string
	Email      string
	Runbook    string
	Dashboard  string
	Repository string
	Reviewer   string // of risky changes
	Tier       string
	Lifecycle  string
	SLO        string
	DependsOn  []string // names of services, datastores and the like, without kind and namespace
	Contract   string   // what it promises those that depend on it
	Reviewed   time.Time
	Parent     string // of a team: the team above it; of others: the system that it is part of
	Members    []string
}

// Link is a place to look, or a field that has no other place here, with its name.
type Link struct{ Name, Target string }

// Source is where a record stands.
type Source struct {
	Format string // "backstage", "datadog", …
	File   string
	Line   int // from 1
}

// Problem is what is wrong with a source. What else is in the file is read.
type Problem struct {
	File   string
	Line   int // from 1, 0 where no line is known
	Reason string
}
