package clickhousetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/whosehop/whosehop/storage/server"
)

// ClusterName is the name of the cluster of three shards that Cluster gives.
const ClusterName = "three"

const shards = 3

// cluster is the engines of this test binary that are a cluster: global as shared is.
var cluster struct {
	once      sync.Once
	err       error
	addresses []string // what the engines know each other by
	servers   []*server.Server
	dirs      []string
}

// Cluster is three engines that are the three shards of one cluster, each behind a proxy that belongs to the test, and
// the DSN of a database that does not exist yet. Tests that use it do not run in parallel.
func Cluster(t *testing.T) (dsn string, network []*Proxy) {
	t.Helper()
	cluster.once.Do(func() { cluster.err = startCluster() })
	if cluster.err != nil {
		t.Fatalf("start three ClickHouses: %v", cluster.err)
	}
	for i, s := range cluster.servers {
		at, err := url.Parse(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		network = append(network, StartProxy(t, cluster.addresses[i], at.Host))
	}
	return fmt.Sprintf("clickhouse://cluster:cluster@%s/test_%d", strings.Join(cluster.addresses, ","), shared.database.Add(1)), network
}

func startCluster() error {
	var hosts strings.Builder
	for range shards {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }() // held until all have theirs
		cluster.addresses = append(cluster.addresses, l.Addr().String())
		_, port, _ := net.SplitHostPort(l.Addr().String())
		fmt.Fprintf(&hosts, "<shard><replica><host>127.0.0.1</host><port>%s</port><user>cluster</user><password>cluster</password></replica></shard>", port)
	}
	for range shards {
		dir, err := os.MkdirTemp("", "whosehop-cluster-")
		if err != nil {
			return err
		}
		cluster.dirs = append(cluster.dirs, dir)
		for name, text := range map[string]string{
			"config.d/cluster.xml": "<clickhouse><remote_servers><" + ClusterName + ">" + hosts.String() + "</" + ClusterName + "></remote_servers></clickhouse>",
			"users.d/cluster.xml": "<clickhouse><users><cluster><password>cluster</password><networks><ip>127.0.0.1</ip></networks>" +
				"<profile>default</profile><quota>default</quota></cluster></users></clickhouse>",
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return err
			}
		}
		s, err := server.Start(context.Background(), server.Config{Dir: dir, MemoryBytesMax: 1 << 30}, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		cluster.servers = append(cluster.servers, s)
	}
	return nil
}
