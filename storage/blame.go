package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/verdict"
)

// BlameFilter selects what was caused or suffered by requests that began in [From, To); empty fields select all.
type BlameFilter struct {
	From, To time.Time
	Owner    string
	// Entry is the entry's service, its operation, or both with a space between them.
	Entry string
	// Suffered asks for what was suffered and not for what was caused.
	Suffered bool
	// Exact counts from verdicts, however long the window is, which need not be aligned then.
	Exact bool
	// Caller and Callee are of an edge: what was caused by the edge itself, by its callee, or by its caller calling it.
	Caller, Callee string
	// Hours asks for the hours in which there was some.
	Hours bool
}

// exactMost is the longest window that is counted from verdicts, to the nanosecond: six hours, and what is added for clocks that
// differ. A longer one goes by whole hours, and so does one that began longer ago than exactFor, or than verdicts are kept: that is
// less time than what is made of them is.
const (
	exactMost = 6*time.Hour + 2*time.Minute
	exactFor  = 30 * 24 * time.Hour
)

// exact says that a window is counted from verdicts, which are kept for some time; 0 is for ever.
func exact(from, to time.Time, kept time.Duration) bool {
	began := time.Since(from)
	return to.Sub(from) <= exactMost && began < exactFor && (kept == 0 || began < kept)
}

// whole says that a window goes by whole hours.
func whole(from, to time.Time) bool {
	return from.Truncate(time.Hour).Equal(from) && to.Truncate(time.Hour).Equal(to)
}

// Align is the window that a question is answered for: longer and older ones are widened to whole hours.
func (db *DB) Align(from, to time.Time) (time.Time, time.Time) {
	return Align(from, to, db.verdictsKept)
}

// Align is what it is where verdicts are kept for some time; 0 is for ever.
func Align(from, to time.Time, kept time.Duration) (time.Time, time.Time) {
	if exact(from, to, kept) {
		return from, to
	}
	if end := to.Truncate(time.Hour); !end.Equal(to) {
		to = end.Add(time.Hour)
	}
	return from.Truncate(time.Hour), to
}

// where are the conditions on columns.
func (f *BlameFilter) where() (text string) {
	if f.Owner != "" {
		text += " AND Owner = " + quoteText(f.Owner)
	}
	if f.Entry != "" {
		text += fmt.Sprintf(" AND (EntryService = %[1]s OR EntryOperation = %[1]s OR concat(EntryService, ' ', EntryOperation) = %[1]s)", quoteText(f.Entry))
	}
	if f.Caller != "" {
		text += fmt.Sprintf(" AND (Kind = 'edge' AND Caller = %[1]s AND Callee = %[2]s OR Kind = 'service' AND (Via = %[1]s AND Service = %[2]s OR Service = %[1]s AND Target = %[2]s) OR Kind = 'peer' AND Via = %[1]s AND Peer = %[2]s)",
			quoteText(f.Caller), quoteText(f.Callee))
	}
	return text
}

// blame is rows of these columns of what was caused or suffered in a window that is aligned: hours that are clean are
// read as they were summed up, the rest is counted from verdicts.
func (db *DB) blame(ctx context.Context, f *BlameFilter, columns []string) (string, error) {
	part := caused
	if f.Suffered {
		part = suffered
	}
	columns = append(slices.Clip(columns), "Owner")
	if f.Entry != "" {
		columns = append(columns, "EntryService", "EntryOperation")
	}
	if f.Caller != "" {
		columns = append(columns, "Kind", "Caller", "Callee", "Service", "Peer", "Via", "Target")
	}
	columns = inOrder(columns)
	from, to := nanos(f.From), nanos(f.To)
	counted := func(where string) string {
		return db.blameOfVerdicts(part, columns, fmt.Sprintf("FirstStart < '%[2]s' AND LastStart >= '%[1]s'%[3]s AND %[4]s >= '%[1]s' AND %[4]s < '%[2]s'%[5]s",
			from, to, where, part.start(), f.where()))
	}
	if f.Exact || exact(f.From, f.To, db.verdictsKept) || !whole(f.From, f.To) {
		return "(" + counted("") + ")", nil
	}
	dirty, err := db.dirtyHours(ctx)
	if err != nil {
		return "", err
	}
	hours := make([]string, 0, len(dirty))
	for hour := range dirty {
		hours = append(hours, fmt.Sprintf("toDateTime(%d, 'UTC')", hour.Unix()))
	}
	clean := fmt.Sprintf(`SELECT %s FROM %s WHERE Part = '%s' AND At >= '%s' AND At < '%s'%s
		AND (Shard, Hour, Version) GLOBAL IN (SELECT Shard, Hour, max(Version) FROM %s GROUP BY Shard, Hour)`,
		strings.Join(columns, ", "), db.table("blame_hourly"), part.name, f.From.UTC().Format(time.DateTime), f.To.UTC().Format(time.DateTime),
		f.where(), db.table("blame_hours"))
	if len(hours) == 0 {
		return "(" + clean + ")", nil
	}
	slices.Sort(hours)
	list := "(" + strings.Join(hours, ", ") + ")"
	return "(" + clean + " AND Hour NOT IN " + list + " UNION ALL " + counted(" AND toStartOfHour(FirstIngest, 'UTC') IN "+list) + ")", nil
}

// inOrder is the columns in the order of the table, once each.
func inOrder(columns []string) (names []string) {
	for _, c := range blameColumns {
		if slices.Contains(columns, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// BlameRow is one group of what was caused or suffered. Only the columns that it was grouped by are set of what tells rows apart.
type BlameRow struct {
	At                                              time.Time
	Owner, Kind, Service, Operation, Caller, Callee string
	Phase, Peer, Accountable, Rule, Class           string
	Fingerprint, ServiceVersion, Via, Target, Cause string
	EntryService, EntryOperation                    string
	// Amount is in millionths of a request, by what samplers say; Stored as if each stood for itself alone. Of Amount,
	// Failed are those that failed, Degraded and Slow the others.
	Amount, Stored, ExcessNs, Failed, Degraded, Slow int64
	// FirstNs and LastNs are when the first and the last of the requests began, in Unix nanoseconds; Exemplar is the last one's trace.
	FirstNs, LastNs int64
	Exemplar        string
	// Hours are those in which there was some, as Unix seconds, in their order; where they were asked for.
	Hours []uint32
	// MainRule, MainFingerprint, MainVersion and MainOwner are those of the largest part of it that was counted.
	MainRule, MainFingerprint, MainVersion, MainOwner string
}

// group is the field of a column that Blame can group by.
func (r *BlameRow) group(column string) *string {
	switch column {
	case "Owner":
		return &r.Owner
	case "Kind":
		return &r.Kind
	case "Service":
		return &r.Service
	case "Operation":
		return &r.Operation
	case "Caller":
		return &r.Caller
	case "Callee":
		return &r.Callee
	case "Phase":
		return &r.Phase
	case "Peer":
		return &r.Peer
	case "Accountable":
		return &r.Accountable
	case "Rule":
		return &r.Rule
	case "Class":
		return &r.Class
	case "Fingerprint":
		return &r.Fingerprint
	case "ServiceVersion":
		return &r.ServiceVersion
	case "Via":
		return &r.Via
	case "Target":
		return &r.Target
	case "Cause":
		return &r.Cause
	case "EntryService":
		return &r.EntryService
	case "EntryOperation":
		return &r.EntryOperation
	}
	panic("blame is not grouped by " + column)
}

// Blame sums up what was caused or suffered, by columns of blame_hourly and, if step is not 0, by time; the largest amounts first, or
// with a step the earliest. The window is to be aligned, and a step of more than an hour a whole number of hours.
func (db *DB) Blame(ctx context.Context, f BlameFilter, by []string, step time.Duration, limit int) ([]BlameRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	columns := append(slices.Clip(by), "At", "Amount", "Stored", "ExcessNs", "Symptom", "FirstNs", "LastNs", "Exemplar", "Rule", "Fingerprint", "ServiceVersion", "Owner")
	source, err := db.blame(ctx, &f, columns)
	if err != nil {
		return nil, err
	}
	var values, keys []string
	for _, c := range by {
		values, keys = append(values, "toString("+c+")"), append(keys, c)
	}
	order := "A DESC"
	if step > 0 {
		values, keys = append(values, fmt.Sprintf("toDateTime(intDiv(toUnixTimestamp(At), %[1]d) * %[1]d, 'UTC') AS T", int64(step.Seconds()))), append(keys, "T")
		order = "T"
	}
	if f.Hours {
		values = append(values, "arraySort(groupUniqArray(toUnixTimestamp(toStartOfHour(At, 'UTC'))))")
	}
	for _, main := range []string{"Rule", "Fingerprint", "ServiceVersion", "Owner"} {
		values = append(values, "toString(argMax("+main+", Amount))")
	}
	values = append(values, "sum(Amount) AS A", "sum(Stored)", "sum(ExcessNs)")
	for _, symptom := range []verdict.Symptom{verdict.SymptomError, verdict.SymptomDegraded, verdict.SymptomLatency} {
		values = append(values, fmt.Sprintf("sumIf(Amount, Symptom = '%s')", symptom))
	}
	values = append(values, "min(FirstNs)", "max(LastNs)", "argMax(Exemplar, LastNs)")
	grouped := " GROUP BY " + strings.Join(keys, ", ")
	if len(keys) == 0 {
		grouped = " HAVING count() > 0"
	}
	rows, err := db.conn.Query(ctx, fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d",
		strings.Join(values, ", "), source, grouped, strings.Join(append([]string{order}, keys...), ", "), limit)+readSettings+", "+verdictSettings)
	if err != nil {
		return nil, wrap("sum up blame", err)
	}
	defer func() { _ = rows.Close() }()
	var list []BlameRow
	for rows.Next() {
		var r BlameRow
		var into []any
		for _, c := range by {
			into = append(into, r.group(c))
		}
		if step > 0 {
			into = append(into, &r.At)
		}
		if f.Hours {
			into = append(into, &r.Hours)
		}
		if err := rows.Scan(append(into, &r.MainRule, &r.MainFingerprint, &r.MainVersion, &r.MainOwner,
			&r.Amount, &r.Stored, &r.ExcessNs, &r.Failed, &r.Degraded, &r.Slow, &r.FirstNs, &r.LastNs, &r.Exemplar)...); err != nil {
			return nil, wrap("sum up blame", err)
		}
		list = append(list, r)
	}
	return list, wrap("sum up blame", rows.Err())
}

// Site is where something was caused, and whose it is.
type Site struct {
	Owner, Kind, Service, Operation, Caller, Callee, Phase, Peer, Accountable string
}

// siteColumns are its fields.
var siteColumns = []string{"Owner", "Kind", "Service", "Operation", "Caller", "Callee", "Phase", "Peer", "Accountable"}

func (s *Site) fields() [9]*string {
	return [...]*string{&s.Owner, &s.Kind, &s.Service, &s.Operation, &s.Caller, &s.Callee, &s.Phase, &s.Peer, &s.Accountable}
}

// Spell is a time in which requests began that a site broke, in Unix nanoseconds.
type Spell struct{ FirstNs, LastNs int64 }

// Spells are the times in which sites broke requests, hour by hour in no order. The window is to be aligned.
func (db *DB) Spells(ctx context.Context, f BlameFilter, sites []Site) (map[Site][]Spell, error) {
	if len(sites) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	source, err := db.blame(ctx, &f, append(slices.Clone(siteColumns), "FirstNs", "LastNs"))
	if err != nil {
		return nil, err
	}
	wanted := make([]string, len(sites))
	for i := range sites {
		var values []string
		for _, field := range sites[i].fields() {
			values = append(values, quoteText(*field))
		}
		wanted[i] = "(" + strings.Join(values, ", ") + ")"
	}
	texts := make([]string, len(siteColumns))
	for i, c := range siteColumns {
		texts[i] = "toString(" + c + ")"
	}
	columns := strings.Join(siteColumns, ", ")
	rows, err := db.conn.Query(ctx, fmt.Sprintf("SELECT %s, groupArray(FirstNs), groupArray(LastNs) FROM %s WHERE (%s) IN (%s) GROUP BY %s",
		strings.Join(texts, ", "), source, columns, strings.Join(wanted, ", "), columns)+readSettings+", "+verdictSettings)
	if err != nil {
		return nil, wrap("look for when it began", err)
	}
	defer func() { _ = rows.Close() }()
	spells := make(map[Site][]Spell)
	for rows.Next() {
		var s Site
		var first, last []int64
		into := make([]any, 0, len(siteColumns)+2)
		for _, field := range s.fields() {
			into = append(into, field)
		}
		if err := rows.Scan(append(into, &first, &last)...); err != nil {
			return nil, wrap("look for when it began", err)
		}
		for i := range first {
			spells[s] = append(spells[s], Spell{first[i], last[i]})
		}
	}
	return spells, wrap("look for when it began", rows.Err())
}
