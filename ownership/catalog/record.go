// Package catalog reads what companies already write down about who owns what: their service catalogs, CODEOWNERS and
// Kubernetes manifests. Each format is one file here, and a pure function from bytes to records.
package catalog

import (
	"cmp"
	"fmt"
	"time"
)

// Kind is what a record is about.
type Kind string

// The kinds. A path is a pattern of source files, for spans that say which code they ran. An API or a system sends no
// spans under its name: they are kept for what they say of others.
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
	API       Kind = "api"
	System    Kind = "system"
)

// Record is what one source says of one thing. As JSON it is what the registry stores.
type Record struct {
	Kind Kind `json:"kind"`
	// Name is that of the service, datastore, queue, third party, team or namespace, or a glob of such; of an operation,
	// that of its service.
	Name        string   `json:"name,omitempty"`
	Namespace   string   `json:"namespace,omitempty"`   // service.namespace, or the namespace that the source files it under; empty means any
	Environment string   `json:"environment,omitempty"` // deployment.environment.name; empty means any
	Aliases     []string `json:"aliases,omitempty"`     // other names that the same thing goes by
	// Operation is a glob of span names, of an operation alone.
	Operation string `json:"operation,omitempty"`
	// Caller and Callee are globs of services, and Phase is one of network, queue, pool, budget and contract, or one of a
	// verdict's, or empty for all, of an edge alone.
	Caller string `json:"caller,omitempty"`
	Callee string `json:"callee,omitempty"`
	Phase  string `json:"phase,omitempty"`
	// Pattern is that of source files, in the source's own syntax, of a path alone.
	Pattern string `json:"pattern,omitempty"`

	// Owner is the name of a team or a person, as the source has it, without kind and namespace; Owners are others beside
	// it. Without an owner the source does not say, or, for a path, it says that nobody owns it.
	Owner  string   `json:"owner,omitempty"`
	Owners []string `json:"owners,omitempty"`
	// Accountable is "caller" or "callee", of an edge alone, in place of an owner: the owner of that side.
	Accountable string `json:"accountable,omitempty"`

	Charter
	// From and Until bound when the record holds; zero bounds nothing.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Links are what else the source has to say, unknown fields among it: never anything secret.
	Links  []Link `json:"links,omitempty"`
	Source Source `json:"source"`
	// By is the file of the registry's own format that says so, of what was first written down in another.
	By string `json:"by,omitempty"`
	// Set is the set of the stored registry that the record is of; a file says nothing of it.
	Set string `json:"set,omitempty"`
}

// ReadFrom is the file that the record was read from.
func (r *Record) ReadFrom() string { return cmp.Or(r.By, r.Source.File) }

// HoldsAt says whether the record holds at a time in Unix nanoseconds.
func (r *Record) HoldsAt(ns int64) bool {
	if r.From.IsZero() && r.Until.IsZero() {
		return true
	}
	at := time.Unix(0, ns)
	return !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until))
}

// Charter is what an owner promises, and how the owner is reached.
type Charter struct {
	OnCall     string    `json:"onCall,omitempty"`     // where who is on call is found: a URL, or a schedule's id with the tool's name before it ("pagerduty:PXXXX")
	Escalation []string  `json:"escalation,omitempty"` // who is called, in order
	Chat       string    `json:"chat,omitempty"`
	Email      string    `json:"email,omitempty"`
	Runbook    string    `json:"runbook,omitempty"`
	Dashboard  string    `json:"dashboard,omitempty"`
	Repository string    `json:"repository,omitempty"`
	Reviewer   string    `json:"reviewer,omitempty"` // of risky changes
	Tier       string    `json:"tier,omitempty"`
	Lifecycle  string    `json:"lifecycle,omitempty"`
	SLO        string    `json:"slo,omitempty"`
	DependsOn  []string  `json:"dependsOn,omitempty"` // names of services, datastores and the like, without kind and namespace
	Contract   string    `json:"contract,omitempty"`  // what it promises those that depend on it
	Reviewed   time.Time `json:"reviewed,omitzero"`
	Parent     string    `json:"parent,omitempty"` // of a team: the team above it; of others: the system that it is part of
	Members    []string  `json:"members,omitempty"`
}

// Link is a place to look, or a field that has no other place here, with its name.
type Link struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}

// Source is where a record stands.
type Source struct {
	Format string `json:"format"` // "backstage", "datadog", …
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"` // from 1
}

// String is file:line.
func (s Source) String() string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// Problem is what is wrong with a source. What else is in the file is read.
type Problem struct {
	File   string
	Line   int // from 1, 0 where no line is known
	Reason string
}

// String is file:line: reason.
func (p Problem) String() string {
	return Source{File: p.File, Line: p.Line}.String() + ": " + p.Reason
}
