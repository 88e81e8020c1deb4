// Package exporter has the span table of the OpenTelemetry ClickHouse exporter.
package exporter

import (
	"context"
	_ "embed"

	"github.com/whosehop/whosehop/benchmarks/store"
)

// schema is what the exporter v0.161 makes, without a TTL, and what fills it.
//
//go:embed schema.sql
var schema string

// Fill makes the exporter's tables in the database peer, and puts the spans of whosehop.otel_traces there.
func Fill(ctx context.Context, s *store.Store) error { return s.Run(ctx, schema) }
