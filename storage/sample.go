package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// IngestedTraces lists up to limit traces of which spans were ingested in [from, to) and none in the time before: a
// sample by the hash of their ids, so that it is a fair one and the same for everybody. Of that many
// traces it is one of each standFor.
func (db *DB) IngestedTraces(ctx context.Context, from, to time.Time, before time.Duration, limit int) (ids []spans.TraceID, standFor int, err error) {
	var touched uint64
	err = db.conn.QueryRow(ctx, fmt.Sprintf("SELECT uniqExact(TraceId) FROM %s WHERE %[2]s >= ? AND %[2]s < ? AND TraceId != ''", db.spans, db.stored), stamp(from), stamp(to)).Scan(&touched)
	if err != nil || touched == 0 {
		return nil, 1, wrap("count traces", err)
	}
	ids, err = db.traceIDs(ctx, fmt.Sprintf(`SELECT TraceId FROM %[1]s WHERE TraceId IN (
			SELECT TraceId FROM %[1]s WHERE %[2]s >= ? AND %[2]s < ? AND TraceId != '' GROUP BY TraceId ORDER BY cityHash64(TraceId) LIMIT ?)
			AND %[2]s >= ? AND %[2]s < ?
		GROUP BY TraceId HAVING min(%[2]s) >= ? ORDER BY TraceId`, db.spans, db.stored), stamp(from), stamp(to), limit, stamp(from.Add(-before)), stamp(to), stamp(from))
	return ids, max(1, (int(touched)+limit/2)/limit), err
}

// SampleTraces lists up to limit traces whose root span began in [from, to): a sample by the hash of
// their ids, so that it is a fair one and the same for everybody. entry keeps those that came in at an
// operation, given as its name or as service and name; empty means any.
func (db *DB) SampleTraces(ctx context.Context, from, to time.Time, entry string, limit int) ([]spans.TraceID, error) {
	return db.traceIDs(ctx, `SELECT TraceId FROM `+db.spans+`
		WHERE Timestamp >= ? AND Timestamp < ? AND TraceId != '' AND ParentSpanId = ''`+db.storedFrom(from)+`
			AND (? = '' OR SpanName = ? OR concat(ServiceName, ' ', SpanName) = ?)
		GROUP BY TraceId ORDER BY cityHash64(TraceId) LIMIT ?`, stamp(from), stamp(to), entry, entry, entry, limit)
}

func (db *DB) traceIDs(ctx context.Context, query string, args ...any) ([]spans.TraceID, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap("sample traces", err)
	}
	defer func() { _ = rows.Close() }()
	var ids []spans.TraceID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, wrap("sample traces", err)
		}
		ids = append(ids, native.ReadTraceID([]byte(id)))
	}
	return ids, wrap("sample traces", rows.Err())
}
