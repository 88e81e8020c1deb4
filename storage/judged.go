package storage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"math"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/verdict"
)

// JudgedTrace is the outcome of judging a trace, and what it was judged on.
type JudgedTrace struct {
	SettledTrace
	Verdicts []verdict.Verdict
}

// insertVerdicts does not look for versions of one trace in a block, where there are none: that costs as much as
// writing it.
var insertVerdicts = []native.Setting{{Key: "async_insert", Value: "0"}, {Key: "optimize_on_insert", Value: "0"}}

// insertBytes of verdicts are inserted at once: fewer and larger inserts cost ClickHouse less, and us more memory.
const insertBytes = 24 << 20

// WriteJudged stores verdicts; a later version of a trace replaces an earlier one. A trace without a
// symptom gets a row all the same: that is how it is known to be done. Each trace is encoded as it comes, and not
// kept. After an error some of them may be stored.
func (db *DB) WriteJudged(ctx context.Context, judged iter.Seq[*JudgedTrace]) error {
	t := db.judged.Get().(*judgedTable)
	defer db.judged.Put(t)
	t.Reset()
	for j := range judged {
		if err := t.add(j); err != nil {
			return err
		}
		if t.Bytes() >= insertBytes {
			if err := db.insertJudged(ctx, t); err != nil {
				return err
			}
			t.Reset()
		}
	}
	return db.insertJudged(ctx, t)
}

func (db *DB) insertJudged(ctx context.Context, t *judgedTable) error {
	if t.Rows() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	columns, packed := t.Pack()
	return wrap("write verdicts", db.with(ctx, func(c *native.Conn) error {
		return c.Insert(ctx, db.table("verdicts"), columns, packed, insertVerdicts...)
	}))
}

// judgedTable is the rows of verdicts.
type judgedTable struct {
	native.Table
	body bytes.Buffer
	json *json.Encoder

	traceID, version, firstIngest, rows, lastIngest, rules *native.TableColumn
	entries, shares, hops                                  *native.Group

	entry struct{ service, operation, span, start, duration, symptom, summary, body, represents, cause, excess *native.TableColumn }
	share struct {
		entry, kind, service, operation, caller, callee, phase, peer, accountable, owner, rule, class, errorType, weight, amount, stored, excess, confidence, fingerprint, version, via, target *native.TableColumn
	}
	hop struct{ entry, service, owner, role, suffered *native.TableColumn }
}

func newJudgedTable() *judgedTable {
	const text, word, number = "String", "LowCardinality(String)", "Int64"
	t := &judgedTable{}
	t.json = json.NewEncoder(&t.body)
	t.traceID, t.version, t.firstIngest = t.Column("TraceId", text), t.Column("Version", "UInt32"), t.Column("FirstIngest", "DateTime64(3)")
	t.rows, t.lastIngest, t.rules = t.Column("SpanRows", "UInt64"), t.Column("LastIngest", "DateTime64(3)"), t.Column("Rules", word)
	t.entries, t.shares, t.hops = t.Group("Entries"), t.Group("Shares"), t.Group("Hops")
	for _, c := range []struct {
		at         **native.TableColumn
		group      *native.Group
		name, kind string
	}{
		{&t.entry.service, t.entries, "Service", word},
		{&t.entry.operation, t.entries, "Operation", word},
		{&t.entry.span, t.entries, "SpanId", text},
		{&t.entry.start, t.entries, "Start", "DateTime64(9)"},
		{&t.entry.duration, t.entries, "DurationNs", number},
		{&t.entry.symptom, t.entries, "Symptom", word},
		{&t.entry.summary, t.entries, "Summary", text},
		{&t.entry.body, t.entries, "Body", text},
		{&t.entry.represents, t.entries, "Represents", "Float64"},
		{&t.entry.cause, t.entries, "Cause", word},
		{&t.entry.excess, t.entries, "ExcessNs", number},
		{&t.share.entry, t.shares, "Entry", "UInt32"},
		{&t.share.kind, t.shares, "Kind", word},
		{&t.share.service, t.shares, "Service", word},
		{&t.share.operation, t.shares, "Operation", word},
		{&t.share.caller, t.shares, "Caller", word},
		{&t.share.callee, t.shares, "Callee", word},
		{&t.share.phase, t.shares, "Phase", word},
		{&t.share.peer, t.shares, "Peer", word},
		{&t.share.accountable, t.shares, "Accountable", word},
		{&t.share.owner, t.shares, "Owner", word},
		{&t.share.rule, t.shares, "Rule", word},
		{&t.share.class, t.shares, "Class", word},
		{&t.share.errorType, t.shares, "ErrorType", word},
		{&t.share.weight, t.shares, "Weight", "Float64"},
		{&t.share.amount, t.shares, "Amount", number},
		{&t.share.stored, t.shares, "Stored", number},
		{&t.share.excess, t.shares, "ExcessNs", number},
		{&t.share.confidence, t.shares, "Confidence", "Float64"},
		{&t.share.fingerprint, t.shares, "Fingerprint", word},
		{&t.share.version, t.shares, "Version", word},
		{&t.share.via, t.shares, "Via", word},
		{&t.share.target, t.shares, "Target", word},
		{&t.hop.entry, t.hops, "Entry", "UInt32"},
		{&t.hop.service, t.hops, "Service", word},
		{&t.hop.owner, t.hops, "Owner", word},
		{&t.hop.role, t.hops, "Role", word},
		{&t.hop.suffered, t.hops, "Suffered", "Bool"},
	} {
		*c.at = t.Nested(c.group, c.name, c.kind)
	}
	return t
}

func (t *judgedTable) add(j *JudgedTrace) error {
	number := uint32(0)
	for i := range j.Verdicts {
		v := &j.Verdicts[i]
		if v.Symptom == verdict.SymptomNone {
			continue
		}
		t.body.Reset()
		if err := t.json.Encode(v); err != nil {
			return fmt.Errorf("encode the verdict of %s: %w", v.TraceID, err)
		}
		number++
		t.entries.Element()
		t.entry.service.Text(v.Entry.Service)
		t.entry.operation.Text(v.Entry.Operation)
		t.entry.span.Text(v.Entry.SpanID)
		t.entry.start.Int64(v.Entry.Start.UnixNs)
		t.entry.duration.Int64(v.Entry.DurationNs)
		t.entry.symptom.Text(string(v.Symptom))
		t.entry.summary.Text(v.Summary)
		t.entry.body.Bytes(bytes.TrimSuffix(t.body.Bytes(), []byte("\n")))
		represents := cmp.Or(v.Represents, 1)
		t.entry.represents.Float64(represents)
		t.addShares(number, v.Shares, represents)
		for k := range v.Hops {
			h := &v.Hops[k]
			t.hops.Element()
			t.hop.entry.Uint32(number)
			t.hop.service.Text(h.Service)
			t.hop.owner.Text(h.Owner)
			t.hop.role.Text(string(h.Role))
			t.hop.suffered.Bool(v.Suffered(k))
		}
	}
	t.traceID.Text(hex.EncodeToString(j.TraceID[:]))
	t.version.Uint32(j.Version)
	t.firstIngest.Int64(j.FirstIngest.UnixMilli())
	t.rows.Int64(int64(j.Rows))
	t.lastIngest.Int64(j.LastIngest.UnixMilli())
	t.rules.Text(verdict.Rules)
	t.EndRow()
	return nil
}

// millionths is what the sums of weights are kept in: integers add up, in whatever order.
const millionths = 1_000_000

// addShares adds the shares of an entry, the amounts of which add up to what it represents.
func (t *judgedTable) addShares(entry uint32, shares []verdict.Share, represents float64) {
	cause, largest, excessNs, weight := "", 0.0, int64(0), 0.0
	amount, stored := parts{of: int64(math.Round(millionths * represents))}, parts{of: millionths}
	for k := range shares {
		s := &shares[k]
		if s.Weight > largest {
			cause, largest = s.Owner, s.Weight
		}
		excessNs += s.ExcessNs
		if weight += s.Weight; k == len(shares)-1 {
			weight = 1
		}
		t.addShare(entry, s)
		t.share.amount.Int64(amount.upTo(weight))
		t.share.stored.Int64(stored.upTo(weight))
	}
	t.entry.cause.Text(cause)
	t.entry.excess.Int64(excessNs)
}

// parts hands a whole out in parts, so that their sum is the whole.
type parts struct{ of, given int64 }

func (p *parts) upTo(weight float64) int64 {
	part := int64(math.Round(float64(p.of)*weight)) - p.given
	p.given += part
	return part
}

func (t *judgedTable) addShare(entry uint32, s *verdict.Share) {
	t.shares.Element()
	t.share.entry.Uint32(entry)
	t.share.kind.Text(string(s.Site.Kind))
	t.share.service.Text(s.Site.Service)
	t.share.operation.Text(s.Site.Operation)
	t.share.caller.Text(s.Site.Caller)
	t.share.callee.Text(s.Site.Callee)
	t.share.phase.Text(string(s.Site.Phase))
	t.share.peer.Text(s.Site.Peer)
	t.share.accountable.Text(s.Accountable)
	t.share.owner.Text(s.Owner)
	t.share.rule.Text(s.Rule)
	t.share.class.Text(string(s.Class))
	t.share.errorType.Text(s.ErrorType)
	t.share.weight.Float64(s.Weight)
	t.share.excess.Int64(s.ExcessNs)
	t.share.confidence.Float64(s.Confidence)
	t.share.fingerprint.Text(s.Fingerprint)
	t.share.version.Text(s.Version)
	t.share.via.Text(s.Caller)
	t.share.target.Text(s.Callee)
}
