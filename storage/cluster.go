package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/storage/native"
)

// On a cluster each table lies on the shards in parts, named with localSuffix; what has its name is a Distributed table
// over them, for questions. All of a trace, and its verdicts, lie on one shard: whoever writes or judges does so shard
// by shard. Tables are made host by host, and not ON CLUSTER: that needs a Keeper, and waits for hosts that are away.

const localSuffix = "_local"

// shardingKey is what a Distributed table sends rows by, and native.Shards does the same.
const shardingKey = "cityHash64(TraceId)"

// distributed are the tables over all shards, and where a row would go that is written to them. What an analyzer
// writes down for itself is on its shard only.
var distributed = map[string]string{
	"otel_traces": shardingKey, "verdicts": shardingKey, "verdict_reviews": shardingKey, "baseline": "rand()", "baseline_recent": "rand()", "blame_hourly": "rand()", "blame_hours": "rand()",
	"traffic": "rand()", "traffic_recent": "rand()",
}

// clusterSettings are of questions to all shards: those that are there answer.
var clusterSettings = []native.Setting{{Key: "skip_unavailable_shards", Value: "1"}}

// cluster is the shards of a cluster.
type cluster struct {
	name     string
	shards   []*DB
	hosts    []clusterHost
	keeper   bool
	sharding *native.Shards

	// Hosts that were away when the schema was brought up to date are seen to when they are there.
	late sync.WaitGroup
	stop context.CancelFunc
}

type clusterHost struct {
	shard   int // its index
	name    string
	address string
	weight  uint32
}

// OpenCluster connects to the database that dsn names on all hosts of a cluster, as the first host of the DSN that
// answers knows it. Hosts that are away are left out until they are there.
func OpenCluster(ctx context.Context, dsn, name string, log *slog.Logger) (*DB, error) {
	options, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	c := &cluster{name: name}
	if err := c.find(ctx, options); err != nil {
		return nil, err
	}
	var weights []uint32
	for i := range c.hosts {
		h := &c.hosts[i]
		if h.shard < len(c.shards) {
			s := c.shards[h.shard]
			s.options.Addr = append(s.options.Addr, h.address)
			continue
		}
		shard, err := open(at(options, h.address), localSuffix, log)
		if err != nil {
			return nil, err
		}
		shard.replicated, shard.shard = c.keeper, h.shard+1
		c.shards, weights = append(c.shards, shard), append(weights, h.weight)
	}
	c.sharding = native.NewShards(weights)
	all := *options
	for i := range c.hosts {
		if address := c.hosts[i].address; !slices.Contains(all.Addr, address) {
			all.Addr = append(slices.Clip(all.Addr), address)
		}
	}
	all.Settings = maps.Clone(options.Settings)
	for _, s := range clusterSettings {
		all.Settings[s.Key] = s.Value
	}
	db, err := open(&all, "", log)
	if err != nil {
		return nil, err
	}
	db.cluster = c
	return db, nil
}

// at are the options of one host.
func at(options *clickhouse.Options, address string) *clickhouse.Options {
	there := *options
	there.Addr = []string{address}
	return &there
}

// find asks for the hosts of the cluster, and whether they have a Keeper.
func (c *cluster) find(ctx context.Context, options *clickhouse.Options) error {
	bare := *options
	bare.Auth.Database = ""
	conn, err := clickhouse.Open(&bare)
	if err != nil {
		return fmt.Errorf("open ClickHouse: %w", err)
	}
	defer func() { _ = conn.Close() }()
	rows, err := conn.Query(ctx, "SELECT shard_num, shard_weight, host_name, port FROM system.clusters WHERE cluster = ? ORDER BY shard_num, replica_num", c.name)
	if err != nil {
		return wrap("look for the hosts of the cluster", err)
	}
	defer func() { _ = rows.Close() }()
	replicas := false
	for rows.Next() {
		var shard, weight uint32
		var h clusterHost
		var port uint16
		if err := rows.Scan(&shard, &weight, &h.name, &port); err != nil {
			return wrap("look for the hosts of the cluster", err)
		}
		h.shard, h.weight = int(shard)-1, weight
		h.address = net.JoinHostPort(h.name, strconv.Itoa(int(port)))
		replicas = replicas || len(c.hosts) > 0 && c.hosts[len(c.hosts)-1].shard == h.shard
		c.hosts = append(c.hosts, h)
	}
	if err := rows.Err(); err != nil {
		return wrap("look for the hosts of the cluster", err)
	}
	switch {
	case len(c.hosts) == 0:
		return fmt.Errorf("storage.cluster: ClickHouse knows no cluster %q; those that it knows are in system.clusters", c.name)
	case !slices.ContainsFunc(c.hosts, func(h clusterHost) bool { return h.weight > 0 }):
		return fmt.Errorf("storage.cluster: all shards of %s have a weight of 0: none gets anything", c.name)
	}
	var known uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'system' AND name = 'zookeeper'").Scan(&known); err != nil {
		return wrap("look for a Keeper", err)
	}
	c.keeper = known > 0
	if replicas && !c.keeper {
		return fmt.Errorf("storage.cluster: %s has shards of several replicas, which need a Keeper, and ClickHouse is connected to none", c.name)
	}
	return nil
}

func (c *cluster) close() {
	if c.stop != nil {
		c.stop()
	}
	c.late.Wait()
	for _, s := range c.shards {
		_ = s.Close()
	}
}

// Locals are the shards of a cluster, each a database of its own; one ClickHouse is its only one.
func (db *DB) Locals() []*DB {
	if db.cluster == nil {
		return []*DB{db}
	}
	return db.cluster.shards
}

var oneShard = native.NewShards([]uint32{1})

// Shards says on which shard a trace lies.
func (db *DB) Shards() *native.Shards {
	if db.cluster == nil {
		return oneShard
	}
	return db.cluster.sharding
}

// Missing names the shards that do not answer: what lies there is missing from answers.
func (db *DB) Missing(ctx context.Context) []string {
	if db.cluster == nil {
		return nil
	}
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	names := make([]string, len(db.cluster.shards))
	var group sync.WaitGroup
	for i, s := range db.cluster.shards {
		group.Go(func() {
			if s.Ping(ctx) != nil {
				names[i] = s.shardName(i)
			}
		})
	}
	group.Wait()
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// migrate brings all hosts up to date that are there, and sees to the others later.
func (c *cluster) migrate(ctx context.Context, keep Retention, log *slog.Logger) error {
	away, err := c.migrateHosts(ctx, c.hosts, keep)
	var failed *Error
	switch {
	case err == nil:
		return nil
	case len(away) == len(c.hosts), !errors.As(err, &failed) || !failed.Retryable():
		return err
	}
	log.Warn("hosts of the cluster are away: their schema is seen to when they are there", "hosts", len(away), "error", err)
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.late.Go(func() {
		const pause = 5 * time.Second
		for len(away) > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if away, err = c.migrateHosts(ctx, away, keep); err == nil {
				log.Info("all hosts of the cluster have their schema")
			}
		}
	})
	return nil
}

// migrateHosts returns the hosts that it did not succeed on, and why: an error that does not pass before one that does.
func (c *cluster) migrateHosts(ctx context.Context, hosts []clusterHost, keep Retention) (rest []clusterHost, err error) {
	for _, h := range hosts {
		e := c.migrateHost(ctx, &h, keep)
		if e == nil {
			continue
		}
		rest = append(rest, h)
		var failed *Error
		if passing := errors.As(e, &failed) && failed.Retryable(); err == nil || !passing {
			err = fmt.Errorf("host %s of the cluster: %w", h.address, e)
		}
	}
	return rest, err
}

func (c *cluster) migrateHost(ctx context.Context, h *clusterHost, keep Retention) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	shard := c.shards[h.shard]
	options := at(shard.options, h.address)
	if err := createDatabase(ctx, options); err != nil {
		return err
	}
	db, err := open(options, localSuffix, shard.log)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	l := &layout{cluster: c.name, database: options.Auth.Database, shard: h.shard + 1, host: h.name, keeper: c.keeper}
	return db.migrate(ctx, keep, l.statements)
}

// layout is how tables are laid out on a host of a cluster.
type layout struct {
	cluster, database string
	shard             int
	host              string
	keeper            bool
}

var (
	createTable = regexp.MustCompile(`(?s)^((?:\s*--[^\n]*\n)*\s*)CREATE TABLE IF NOT EXISTS (\w+)\s`)
	tableEngine = regexp.MustCompile(`\nENGINE = (\w*MergeTree)(?:\(([^)\n]*)\))?`)
	tokenWindow = regexp.MustCompile(`\bnon_replicated_deduplication_window = (\d+)`)
)

// statements are what a statement of a migration is on a host of a cluster.
func (l *layout) statements(statement string) ([]string, error) {
	found := createTable.FindStringSubmatch(statement)
	if found == nil {
		if strings.Contains(statement, "CREATE VIEW IF NOT EXISTS") {
			return []string{statement}, nil
		}
		return nil, fmt.Errorf("it is not known how this is done on a cluster: %s", statement)
	}
	name := found[2]
	local := name + localSuffix
	table := createTable.ReplaceAllString(statement, "${1}CREATE TABLE IF NOT EXISTS "+local+" ")
	if l.keeper {
		// A block is told apart for a week: it may have waited that long in a spool.
		const week = 7 * 24 * 60 * 60
		table = tokenWindow.ReplaceAllString(table, fmt.Sprintf("replicated_deduplication_window = $1, replicated_deduplication_window_seconds = %d", week))
		path := quoteText(fmt.Sprintf("/whosehop/%s/%s/%d/%s", l.cluster, l.database, l.shard, name))
		table = tableEngine.ReplaceAllStringFunc(table, func(engine string) string {
			parts := tableEngine.FindStringSubmatch(engine)
			arguments := path + ", " + quoteText(l.host)
			if parts[2] != "" {
				arguments += ", " + parts[2]
			}
			return "\nENGINE = Replicated" + parts[1] + "(" + arguments + ")"
		})
	}
	all := []string{table}
	if key := distributed[name]; key != "" {
		all = append(all, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s AS %s ENGINE = Distributed(%s, currentDatabase(), %s, %s)",
			name, local, quoteText(l.cluster), quoteText(local), key))
	}
	return all, nil
}
