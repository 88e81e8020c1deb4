package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage/native"
)

// TestWhoLeavesEndsTheStatement: when the context of a question ends, so does what it has ClickHouse do, by either client.
func TestWhoLeavesEndsTheStatement(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := native.Dial(t.Context(), native.Options{
		Address: options.Addr[0], Database: options.Auth.Database, User: options.Auth.Username, Password: options.Auth.Password, DialTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	running := func(mark string) uint64 {
		n, err := db.Count(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE ? AND query NOT LIKE '%system.processes%'", "%"+mark+"%")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	until := func(what string, mark string, want uint64) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); running(mark) != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within 30 s: %s, %s", what, mark)
			}
		}
	}
	for i, ask := range []func(ctx context.Context, text string) error{
		func(ctx context.Context, text string) error { _, err := db.Count(ctx, text); return err },
		func(ctx context.Context, text string) error {
			err := conn.Select(ctx, text, nil, []native.Column{{Name: "n", Type: "UInt64"}}, func(int) error { return nil })
			return errors.Join(err, conn.Close()) // as a connection is left after an error
		},
	} {
		mark := fmt.Sprintf("endless_%d", i)
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ask(ctx, "SELECT count() AS n FROM system.numbers /* "+mark+" */") }()
		until("the statement runs", mark, 1)
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", mark, err)
		}
		until("the statement has ended", mark, 0)
	}
}

// TestAStatementEndsWithItsDeadline: ClickHouse itself gives up a read whose asker cannot tell it to.
func TestAStatementEndsWithItsDeadline(t *testing.T) {
	options, err := clickhouse.ParseDSN(clickhousetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := native.Dial(t.Context(), native.Options{Address: options.Addr[0], User: options.Auth.Username, Password: options.Auth.Password, DialTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	err = conn.Select(ctx, "SELECT throwIf(toUInt64(getSetting('max_execution_time')) NOT IN (3599, 3600)) AS n WHERE n = 1", nil, []native.Column{{Name: "n", Type: "UInt8"}}, func(int) error { return nil })
	if err != nil {
		t.Error(err)
	}
}
