package coverage_test

import (
	"fmt"
	"testing"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/verdict"
)

// BenchmarkAssess: a company of 10,000 services and 50,000 rules.
func BenchmarkAssess(b *testing.B) {
	const services, rules, teams = 10_000, 50_000, 300
	var records []catalog.Record
	for i := range teams {
		records = append(records, team(fmt.Sprint("team-", i), full))
	}
	for i := range rules - teams {
		r := service(fmt.Sprintf("service-%d", i%services), fmt.Sprint("team-", i%(teams+9)))
		switch {
		case i >= services:
			r = catalog.Record{Kind: catalog.Operation, Name: r.Name, Operation: fmt.Sprintf("GET /%d*", i), Owner: r.Owner}
		case i%4 == 0:
			r.Until = date(2026, 11, 3)
		}
		records = append(records, r)
	}
	var traffic coverage.Traffic
	for i := range services {
		name := fmt.Sprint("service-", i)
		traffic.Services = append(traffic.Services, seen(name, uint64(i), "service.namespace", fmt.Sprint("ns-", i%500)))
		for k := range 10 {
			traffic.Calls = append(traffic.Calls, coverage.Call{Caller: fmt.Sprint("service-", (i*7+k)%services), Callee: name, Calls: 1})
		}
		traffic.Harm = append(traffic.Harm, broke(name, float64(i%17)), edge(name, fmt.Sprint("service-", (i+1)%services), verdict.PhaseResponse, "", 1))
	}
	registry := ownership.Compile(records, ownership.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if report := coverage.Assess(registry, &traffic, now, 180); len(report.Findings) < services {
			b.Fatal(len(report.Findings))
		}
	}
	b.ReportMetric(services*float64(b.N)/b.Elapsed().Seconds(), "services/s")
}
