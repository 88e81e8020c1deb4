package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Verdicts are summed up hour by hour into blame_hourly (its definition says how). An hour is dirty, and counted from its
// verdicts, until it was made after its last judgement: what is read is right at any moment, and fast once hours are quiet.

// judgedSlack is how long a judgement may take to become visible after the time that it has, which is when its insert began. Clocks of
// replicas may differ by the rest.
const judgedSlack = queryTimeout + 10*time.Second

// blameColumns are the columns of blame_hourly that are asked for, and what they are of verdicts: of a share s that
// was caused, and of a hop h that suffered, each with its entry. In the order of the table.
var blameColumns = []struct{ name, caused, suffered string }{
	{"Part", "'caused'", "'suffered'"},
	{"At", "toDateTime(Entries.Start[s.Entry], 'UTC')", "toDateTime(Entries.Start[h.Entry], 'UTC')"},
	{"Owner", "s.Owner", "h.Owner"},
	{"Kind", "s.Kind", "'service'"},
	{"Service", "s.Service", "h.Service"},
	{"Operation", "s.Operation", "''"},
	{"Caller", "s.Caller", "''"},
	{"Callee", "s.Callee", "''"},
	{"Phase", "s.Phase", "''"},
	{"Peer", "s.Peer", "''"},
	{"Accountable", "s.Accountable", "''"},
	{"Rule", "s.Rule", "''"},
	{"Class", "s.Class", "''"},
	{"ErrorType", "s.ErrorType", "''"},
	{"Fingerprint", "s.Fingerprint", "''"},
	{"ServiceVersion", "s.Version", "''"},
	{"Via", "s.Via", "''"},
	{"Target", "s.Target", "''"},
	{"Cause", "''", "Entries.Cause[h.Entry]"},
	{"EntryService", "Entries.Service[s.Entry]", "Entries.Service[h.Entry]"},
	{"EntryOperation", "Entries.Operation[s.Entry]", "Entries.Operation[h.Entry]"},
	{"Symptom", "Entries.Symptom[s.Entry]", "Entries.Symptom[h.Entry]"},
	{"Amount", "s.Amount", "toInt64(round(1e6 * Entries.Represents[h.Entry]))"},
	{"Stored", "s.Stored", "toInt64(1000000)"},
	{"ExcessNs", "toInt64(round(s.ExcessNs * Entries.Represents[s.Entry]))", "toInt64(round(Entries.ExcessNs[h.Entry] * Entries.Represents[h.Entry]))"},
	{"FirstNs", "toUnixTimestamp64Nano(Entries.Start[s.Entry])", "toUnixTimestamp64Nano(Entries.Start[h.Entry])"},
	{"LastNs", "toUnixTimestamp64Nano(Entries.Start[s.Entry])", "toUnixTimestamp64Nano(Entries.Start[h.Entry])"},
	{"Exemplar", "TraceId", "TraceId"},
}

// blameSums are the columns that add up, and how; the others tell rows apart.
var blameSums = map[string]string{
	"Amount": "sum(Amount)", "Stored": "sum(Stored)", "ExcessNs": "sum(ExcessNs)",
	"FirstNs": "min(FirstNs)", "LastNs": "max(LastNs)", "Exemplar": "argMax(Exemplar, LastNs)",
}

// verdictSettings are of every question to verdicts: all versions of a trace lie in one partition, and what the indexes
// leave out may hold a newer version.
const verdictSettings = "do_not_merge_across_partitions_select_final = 1, use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1"

// blamePart is one of the two parts of blame.
type blamePart struct {
	name  string
	array string // the elements of verdicts that it is made of
	each  string // one of them
}

var (
	caused   = &blamePart{"caused", "Shares", "s"}
	suffered = &blamePart{"suffered", "Hops", "h"}
)

// of is what a column of blame_hourly is of verdicts.
func (p *blamePart) of(column string) string {
	for _, c := range blameColumns {
		switch {
		case c.name != column:
		case p == caused:
			return c.caused
		default:
			return c.suffered
		}
	}
	panic("blame has no " + column)
}

// start is when the entry began.
func (p *blamePart) start() string { return "Entries.Start[" + p.each + ".Entry]" }

// elementField is a field of an element in the text of a column.
var elementField = regexp.MustCompile(`\b[sh]\.(\w+)`)

// blameOfVerdicts are rows as those of blame_hourly, one for each share, or for each hop that suffered, of verdicts. Arrays are named one by one:
// all of them together take ClickHouse longer to plan for than to read.
func (db *DB) blameOfVerdicts(p *blamePart, columns []string, where string) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = p.of(c) + " AS " + c
	}
	text := strings.Join(values, ", ")
	used := text + p.start()
	if p == suffered {
		where, used = where+" AND h.Suffered", used+" h.Suffered"
	}
	var arrays []string
	for _, field := range elementField.FindAllStringSubmatch(used, -1) {
		if array := fmt.Sprintf("%s.%s AS `%s`", p.array, field[1], field[0]); !slices.Contains(arrays, array) {
			arrays = append(arrays, array)
		}
	}
	return "SELECT " + text + " FROM " + db.table("verdicts") + " FINAL ARRAY JOIN " + strings.Join(arrays, ", ") + " WHERE " + where
}

// RollUp makes the hours of this shard again in which verdicts were judged since they were made, and that are quiet now. None that is
// older than oldest: of an hour that has expired in part, what was made before is the sum. It returns how many were made.
func (db *DB) RollUp(ctx context.Context, oldest time.Time) (made int, err error) {
	now, err := db.ServerTime(ctx)
	if err != nil {
		return 0, err
	}
	hours, err := db.findDirtyHours(ctx)
	if err != nil {
		return 0, err
	}
	looked := now
	var failed []error
	for _, hour := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		d := hours[hour]
		if hour.Before(oldest) {
			if err := db.keepHour(ctx, hour, now); err != nil {
				return made, err
			}
			continue
		}
		if now.Sub(d.judgedAt) >= db.slack || now.Sub(d.since) >= staleMost {
			err := db.rollUpHour(ctx, hour, now)
			if err == nil {
				made++
				continue
			}
			// An hour that is too much for ClickHouse does not keep the others from being made.
			if failed = append(failed, err); len(failed) == failuresMost || ctx.Err() != nil {
				return made, errors.Join(failed...)
			}
		}
		if d.since.Before(looked) {
			looked = d.since
		}
	}
	// What is dirty is found among what was judged since then.
	failed = append(failed, db.setHour(ctx, time.Unix(0, 0), uint64(now.UnixMilli()), looked.Add(-db.slack)))
	return made, errors.Join(failed...)
}

// failuresMost is how many hours of a round may fail before it is given up.
const failuresMost = 3

// staleMost is for how long an hour in which verdicts come and come is counted from them before it is made all the same.
const staleMost = 10 * time.Minute

// dirtyHour is an hour that has to be counted from its verdicts.
type dirtyHour struct {
	judgedAt time.Time // the last of them
	since    time.Time // the first that is not in what was made of the hour
}

// keptHours are the dirty hours as they were a moment ago, for the questions that one page asks at once.
type keptHours struct {
	mu    sync.Mutex
	at    time.Time
	hours map[time.Time]dirtyHour
}

// keptFor is how long they are kept.
const keptFor = time.Second

// dirtyHours are the hours that have verdicts which are not in what was made of them, as of a moment ago.
func (db *DB) dirtyHours(ctx context.Context) (map[time.Time]dirtyHour, error) {
	k := &db.dirty
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.at) < min(keptFor, db.slack) {
		return k.hours, nil
	}
	at := time.Now()
	hours, err := db.findDirtyHours(ctx)
	if err == nil {
		k.at, k.hours = at, hours
	}
	return hours, err
}

func (db *DB) findDirtyHours(ctx context.Context) (map[time.Time]dirtyHour, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var looked time.Time
	if err := db.conn.QueryRow(ctx, fmt.Sprintf(`SELECT if(count() < %d, toDateTime64(0, 3), min(At)) FROM (
			SELECT Shard, max(MadeAt) AS At FROM %s WHERE Hour = toDateTime(0, 'UTC') GROUP BY Shard)`, len(db.Locals()), db.table("blame_hours"))).Scan(&looked); err != nil {
		return nil, wrap("look how far verdicts are summed up", err)
	}
	shard := fmt.Sprint(db.shard)
	if db.cluster != nil {
		shard = "_shard_num"
	}
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT Hour, max(JudgedAt), min(JudgedAt) FROM (
			SELECT toUInt16(%s) AS Shard, toStartOfHour(FirstIngest, 'UTC') AS Hour, JudgedAt FROM %s WHERE JudgedAt >= '%s'
		) AS v LEFT ANY JOIN (
			SELECT Shard, Hour, max(MadeAt) AS Made FROM %s GROUP BY Shard, Hour
		) AS m USING (Shard, Hour) WHERE JudgedAt >= Made - toIntervalMillisecond(%d) GROUP BY Hour`,
		shard, db.table("verdicts"), stamp(looked.Add(-db.slack)), db.table("blame_hours"), db.slack.Milliseconds())+readSettings)
	if err != nil {
		return nil, wrap("look for verdicts that are not summed up", err)
	}
	defer func() { _ = rows.Close() }()
	hours := make(map[time.Time]dirtyHour)
	for rows.Next() {
		var hour time.Time
		var d dirtyHour
		if err := rows.Scan(&hour, &d.judgedAt, &d.since); err != nil {
			return nil, wrap("look for verdicts that are not summed up", err)
		}
		hours[hour.UTC()] = d
	}
	return hours, wrap("look for verdicts that are not summed up", rows.Err())
}

// rollUpHour makes one hour from its verdicts. Those who read it meanwhile have what was made before, which goes with the making
// after this one.
func (db *DB) rollUpHour(ctx context.Context, hour, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	// Two that make an hour at the same moment must not mix what they make.
	version, names := uint64(now.UnixMilli())<<20|rand.Uint64N(1<<20), make([]string, len(blameColumns))
	var values, keys []string
	for i, c := range blameColumns {
		value := c.name
		switch sum := blameSums[c.name]; {
		case sum != "":
			value = sum
		case c.name == "At":
			value = "toStartOfHour(At, 'UTC') AS Began"
			keys = append(keys, "Began")
		default:
			keys = append(keys, value)
		}
		names[i], values = c.name, append(values, value)
	}
	at := "'" + hour.UTC().Format(time.DateTime) + "'"
	of := "toStartOfHour(FirstIngest, 'UTC') = toDateTime(" + at + ", 'UTC')"
	text := fmt.Sprintf("INSERT INTO %[1]s (Shard, Hour, Version, %[2]s) SELECT %[3]d, toDateTime(%[4]s, 'UTC'), %[5]d, %[6]s FROM (%[7]s) GROUP BY %[8]s SETTINGS %[9]s, max_threads = 2, max_insert_threads = 1",
		db.table("blame_hourly"), strings.Join(names, ", "), db.shard, at, version, strings.Join(values, ", "),
		db.blameOfVerdicts(caused, names, of)+" UNION ALL "+db.blameOfVerdicts(suffered, names, of), strings.Join(keys, ", "), verdictSettings)
	if err := db.conn.Exec(ctx, text); err != nil {
		return wrap("sum up the verdicts of an hour", err)
	}
	before, err := db.madeBefore(ctx, hour)
	if err != nil {
		return err
	}
	if err := db.setHour(ctx, hour, version, now); err != nil || before == 0 {
		return err
	}
	return wrap("drop what was summed up before", db.conn.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE Shard = %d AND Hour = %s AND Version < %d",
		db.table("blame_hourly"), db.shard, at, before)))
}

// keepHour says that what was made of an hour stays, whatever was judged since.
func (db *DB) keepHour(ctx context.Context, hour, now time.Time) error {
	version, err := db.madeBefore(ctx, hour)
	if err != nil || version == 0 {
		return err
	}
	return db.setHour(ctx, hour, version, now)
}

// madeBefore is the version of what was made of an hour, 0 for none.
func (db *DB) madeBefore(ctx context.Context, hour time.Time) (version uint64, err error) {
	err = db.conn.QueryRow(ctx, fmt.Sprintf("SELECT max(Version) FROM %s WHERE Shard = %d AND Hour = '%s'",
		db.table("blame_hours"), db.shard, hour.UTC().Format(time.DateTime))).Scan(&version)
	return version, wrap("look when an hour was summed up", err)
}

func (db *DB) setHour(ctx context.Context, hour time.Time, version uint64, at time.Time) error {
	return wrap("record that an hour is summed up", db.conn.Exec(ctx, fmt.Sprintf("INSERT INTO %s (Shard, Hour, Version, MadeAt) VALUES (%d, '%s', %d, '%s')",
		db.table("blame_hours"), db.shard, hour.UTC().Format(time.DateTime), version, stamp(at))))
}
