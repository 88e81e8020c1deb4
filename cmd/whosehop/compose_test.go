package main

import (
	"encoding/xml"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

const composeDir = "../../deploy/compose"

type composeService struct {
	Image       string            `yaml:"image"`
	Hostname    string            `yaml:"hostname"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	MemLimit    string            `yaml:"mem_limit"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

type hostAndPort struct {
	Host string `xml:"host"`
	Port string `xml:"port"`
}

type fromEnvironment struct {
	Name string `xml:"from_env,attr"`
}

// composed is deploy/compose: what its files say of each other.
type composed struct {
	services map[string]composeService
	reads    map[string][]string // what a file takes from the environment

	clickhouse struct {
		Port     string        `xml:"tcp_port"`
		Keepers  []hostAndPort `xml:"zookeeper>node"`
		Clusters struct {
			All []struct {
				XMLName xml.Name
				Shards  []struct {
					Internal bool          `xml:"internal_replication"`
					Replicas []hostAndPort `xml:"replica"`
				} `xml:"shard"`
			} `xml:",any"`
		} `xml:"remote_servers"`
	}
	users struct {
		All struct {
			List []struct {
				XMLName  xml.Name
				Password fromEnvironment `xml:"password"`
				Grants   []string        `xml:"grants>query"`
			} `xml:",any"`
		} `xml:"users"`
	}
	keeper struct {
		Port string          `xml:"keeper_server>tcp_port"`
		ID   fromEnvironment `xml:"keeper_server>server_id"`
		Raft []struct {
			ID   string `xml:"id"`
			Host string `xml:"hostname"`
		} `xml:"keeper_server>raft_configuration>server"`
	}
}

func readComposed(t *testing.T) *composed {
	t.Helper()
	read := func(path string) []byte {
		text, err := os.ReadFile(filepath.Join(composeDir, path))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	c := &composed{reads: make(map[string][]string)}
	file := struct {
		Services *map[string]composeService `yaml:"services"`
	}{&c.services}
	if err := yaml.Unmarshal(given.ReplaceAll(read("compose.yaml"), []byte("$1$2")), &file); err != nil {
		t.Fatal(err)
	}
	for path, into := range map[string]any{"clickhouse/config.xml": &c.clickhouse, "clickhouse/users.xml": &c.users, "keeper/keeper.xml": &c.keeper} {
		text := read(path)
		if err := xml.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, found := range fromEnv.FindAllSubmatch(text, -1) {
			c.reads[path] = append(c.reads[path], string(found[1]))
		}
	}
	return c
}

var fromEnv = regexp.MustCompile(`\bfrom_env="(\w+)"`)

// given are variables that Compose puts in, with what stands for them: ${NAME:-default}, or the name.
var given = regexp.MustCompile(`\$\{(?:\w+:-([^}]*)|(\w+)[^}]*)\}`)

// TestComposeRoles holds what deploy/compose sets against the settings, ports without a token included.
func TestComposeRoles(t *testing.T) {
	c := readComposed(t)
	for name, r := range map[string]roles{"collector": {collect: true}, "analyzer": {analyze: true}, "query": {serve: true}} {
		s := c.services[name]
		args := slices.Clone(s.Command)
		for key, value := range s.Environment {
			args = append(args, "--"+strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(key, "WHOSEHOP_"), "_", "-"))+"="+value)
		}
		var set cli
		parser, err := kong.New(&set, kong.NamedMapper("file", fileMapper{}))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.Parse(args)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := set.validate(r); err != nil || parsed.Command() != name {
			t.Errorf("%s runs %s: %v", name, parsed.Command(), err)
		}
		dsn, err := url.Parse(set.Storage.DSN)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.checkDSN(t, dsn, s.Environment["WHOSEHOP_STORAGE_CLUSTER"])
	}
}

// checkDSN holds a DSN against the hosts and the user that ClickHouse has.
func (c *composed) checkDSN(t *testing.T, dsn *url.URL, cluster string) {
	t.Helper()
	var hosts []string
	for _, found := range c.clickhouse.Clusters.All {
		if found.XMLName.Local != cluster {
			t.Errorf("storage.cluster is %s, remote_servers has %s", cluster, found.XMLName.Local)
		}
		for _, shard := range found.Shards {
			for _, replica := range shard.Replicas {
				hosts = append(hosts, replica.Host+":"+replica.Port)
			}
		}
	}
	if named := strings.Split(dsn.Host, ","); !slices.Equal(slices.Sorted(slices.Values(named)), slices.Sorted(slices.Values(hosts))) {
		t.Errorf("storage.dsn names %v, the cluster has %v", named, hosts)
	}
	for _, user := range c.users.All.List {
		password, _ := dsn.User.Password()
		if user.XMLName.Local != dsn.User.Username() || user.Password.Name != password {
			t.Errorf("ClickHouse has the user %s with the password of %s, storage.dsn %s with that of %s", user.XMLName.Local, user.Password.Name, dsn.User.Username(), password)
		}
		if database := strings.TrimPrefix(dsn.Path, "/"); !strings.HasSuffix(user.Grants[0], " ON "+database+".*") {
			t.Errorf("%s is granted %q, and its database is %s", user.XMLName.Local, user.Grants[0], database)
		}
	}
	if len(hosts) == 0 || len(c.users.All.List) == 0 {
		t.Error("there are no hosts, or no users")
	}
}

// TestComposeHosts holds the configuration of ClickHouse and Keeper against the containers that there are.
func TestComposeHosts(t *testing.T) {
	c := readComposed(t)
	for _, cluster := range c.clickhouse.Clusters.All {
		for i, shard := range cluster.Shards {
			if !shard.Internal {
				t.Errorf("shard %d: a row would be written to each replica, and replicated as well", i+1)
			}
			for _, replica := range shard.Replicas {
				s := c.services[replica.Host]
				if s.Hostname != replica.Host || s.Environment["REPLICA"] != replica.Host || s.Environment["SHARD"] != string(rune('1'+i)) {
					t.Errorf("%s: hostname %q, shard %q, replica %q", replica.Host, s.Hostname, s.Environment["SHARD"], s.Environment["REPLICA"])
				}
				if replica.Port != c.clickhouse.Port {
					t.Errorf("%s listens on %s, the cluster has it on %s", replica.Host, c.clickhouse.Port, replica.Port)
				}
				c.checkEnvironment(t, replica.Host, "clickhouse/config.xml")
				c.checkEnvironment(t, replica.Host, "clickhouse/users.xml")
			}
		}
	}
	if len(c.keeper.Raft) != len(c.clickhouse.Keepers) {
		t.Fatalf("%d Keepers, and ClickHouse knows %d", len(c.keeper.Raft), len(c.clickhouse.Keepers))
	}
	for i, k := range c.keeper.Raft {
		c.checkEnvironment(t, k.Host, "keeper/keeper.xml")
		s := c.services[k.Host]
		if want := (hostAndPort{k.Host, c.keeper.Port}); s.Hostname != k.Host || s.Environment[c.keeper.ID.Name] != k.ID || c.clickhouse.Keepers[i] != want {
			t.Errorf("Keeper %s: hostname %q, id %q, for ClickHouse %v", k.Host, s.Hostname, s.Environment[c.keeper.ID.Name], c.clickhouse.Keepers[i])
		}
	}
}

// checkEnvironment holds what a file takes from the environment against what a service gets.
func (c *composed) checkEnvironment(t *testing.T, service, path string) {
	t.Helper()
	for _, name := range c.reads[path] {
		if c.services[service].Environment[name] == "" {
			t.Errorf("%s gets no %s for %s", service, name, path)
		}
	}
}

// TestComposeIsHardened holds every container to what a container may do.
func TestComposeIsHardened(t *testing.T) {
	c := readComposed(t)
	if len(c.services) < 10 {
		t.Fatalf("only %d services", len(c.services))
	}
	for name, s := range c.services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.MemLimit == "" || len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s: read_only %v, cap_drop %v, mem_limit %q, healthcheck %v", name, s.ReadOnly, s.CapDrop, s.MemLimit, s.Healthcheck.Test)
		}
		if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s: %s is not pinned", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is not on loopback", name, p)
			}
		}
	}
}
