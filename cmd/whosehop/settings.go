package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/collector"
)

// Settings are the one configuration: `collector.grpc` in the file is --collector-grpc and
// WHOSEHOP_COLLECTOR_GRPC.
type Settings struct {
	Storage   storageSettings   `embed:"" prefix:"storage-" group:"Storage"`
	Collect   collectorSettings `embed:"" prefix:"collector-" group:"Collector"`
	Analyze   analyzerSettings  `embed:"" prefix:"analyzer-" group:"Analyzer"`
	Serve     querySettings     `embed:"" prefix:"query-" group:"Query"`
	Ownership ownershipSettings `embed:"" prefix:"ownership-" group:"Ownership"`
	Log       logSettings       `embed:"" prefix:"log-" group:"Log"`
	Insecure  bool              `help:"Let ports leave the machine without a token."`
}

type storageSettings struct {
	DSN               string        `name:"dsn" help:"A running ClickHouse: clickhouse://user:password@host:9000/database. Without it one is started." placeholder:"DSN"`
	Dir               string        `help:"Where a ClickHouse that is started keeps its data." default:"whosehop-data" type:"path"`
	Engine            string        `help:"The embedded ClickHouse library; looked for if not given." type:"path" placeholder:"FILE"`
	MemoryBytesMax    size          `help:"Memory of a ClickHouse that is started." default:"4GiB"`
	RetentionSpans    time.Duration `help:"How long spans are kept; 0 is for ever." default:"168h"`
	RetentionVerdicts time.Duration `help:"How long verdicts are kept; 0 is for ever." default:"2160h"`
}

type collectorSettings struct {
	GRPC            string        `name:"grpc" help:"OTLP/gRPC listens here; without a host on loopback, :0 picks a port." default:"127.0.0.1:4317" placeholder:"ADDR"`
	HTTP            string        `name:"http" help:"OTLP/HTTP listens here." default:"127.0.0.1:4318" placeholder:"ADDR"`
	Health          string        `help:"Health and metrics of the collector role." default:"127.0.0.1:13133" placeholder:"ADDR"`
	RequestBytesMax size          `help:"The largest request, unpacked." default:"32MiB"`
	PendingBytesMax size          `help:"What may be received and not yet stored." default:"256MiB"`
	Linger          time.Duration `help:"How long a request waits for others to share its block." default:"50ms"`
	InsertTimeout   time.Duration `help:"How long storing is tried before senders are told to come again." default:"10s"`
	TLSCert         string        `name:"tls-cert" help:"Certificate of both ports." type:"path" placeholder:"FILE"`
	TLSKey          string        `name:"tls-key" help:"Its key." type:"path" placeholder:"FILE"`
	Token           string        `help:"Senders must bring it as a bearer token."`
}

type analyzerSettings struct {
	Quiet    time.Duration `help:"How long a trace must have got no span before it is judged." default:"5s"`
	WaitMax  time.Duration `help:"How long a trace that gets no quiet is waited for." default:"60s"`
	Workers  int           `help:"How many batches are judged at once." default:"2"`
	SpansMax int           `help:"How many spans of one trace are looked at." default:"100000"`
	Health   string        `help:"Health and metrics of the analyzer role." default:"127.0.0.1:13134" placeholder:"ADDR"`
}

type querySettings struct {
	HTTP    string `name:"http" help:"Web pages, REST, health and metrics." default:"127.0.0.1:8080" placeholder:"ADDR"`
	GRPC    string `name:"grpc" help:"gRPC." default:"127.0.0.1:8081" placeholder:"ADDR"`
	TLSCert string `name:"tls-cert" help:"Certificate of both ports." type:"path" placeholder:"FILE"`
	TLSKey  string `name:"tls-key" help:"Its key." type:"path" placeholder:"FILE"`
	Token   string `help:"Whoever asks must bring it: as a bearer token, or in a browser as the password."`
}

type ownershipSettings struct {
	File       string   `help:"Services and their owners, YAML." type:"path" placeholder:"FILE"`
	Attributes []string `help:"Resource attributes that name an owner, the first that is set." default:"service.owner.name,team,owner,service.namespace"`
}

type logSettings struct {
	Level  string `help:"debug, info, warn or error." default:"info"`
	Format string `help:"text or json." default:"text"`
}

// size is a number of bytes: 1048576, 512MiB, 4GiB.
type size int64

var sizeUnits = []struct {
	name string
	of   int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = rest, u.of
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size like 1048576, 512MiB or 4GiB", text)
	}
	*s = size(n * unit)
	return nil
}

func (s size) String() string {
	for _, u := range sizeUnits {
		if int64(s)%u.of == 0 && int64(s) >= u.of {
			return strconv.FormatInt(int64(s)/u.of, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// listenAddress puts an address without a host on loopback: nothing leaves the machine unasked.
func listenAddress(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

func (s *Settings) collectorConfig() collector.Config {
	c := &s.Collect
	return collector.Config{
		GRPC: listenAddress(c.GRPC), HTTP: listenAddress(c.HTTP), RequestBytesMax: int(c.RequestBytesMax), PendingBytesMax: int64(c.PendingBytesMax),
		Linger: c.Linger, InsertTimeout: c.InsertTimeout, TLSCert: c.TLSCert, TLSKey: c.TLSKey, Token: c.Token,
	}
}

func (s *Settings) analyzerConfig() analyzer.Config {
	a := &s.Analyze
	return analyzer.Config{Quiet: a.Quiet, WaitMax: a.WaitMax, Workers: a.Workers, SpansMax: a.SpansMax}
}

// roles says which parts of the settings a command uses.
type roles struct{ collect, analyze, serve bool }

// validate names the first key that cannot be, of the roles that are to run.
func (s *Settings) validate(r roles) error {
	if s.Storage.RetentionSpans < 0 || s.Storage.RetentionVerdicts < 0 {
		return errors.New("storage.retention-spans and storage.retention-verdicts: neither can be negative")
	}
	if s.Storage.DSN == "" && s.Storage.MemoryBytesMax < 512<<20 {
		return fmt.Errorf("storage.memory-bytes-max: %s is less than 512MiB", s.Storage.MemoryBytesMax)
	}
	if r.collect {
		cfg := s.collectorConfig()
		if err := cfg.Validate(); err != nil {
			return err
		}
		if err := s.exposed(map[string]string{"collector.grpc": cfg.GRPC, "collector.http": cfg.HTTP}, "collector.token", cfg.Token); err != nil {
			return err
		}
	}
	if r.analyze {
		cfg := s.analyzerConfig()
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	if r.serve {
		q := &s.Serve
		if (q.TLSCert == "") != (q.TLSKey == "") {
			return errors.New("query.tls-cert and query.tls-key: one is given without the other")
		}
		return s.exposed(map[string]string{"query.http": listenAddress(q.HTTP), "query.grpc": listenAddress(q.GRPC)}, "query.token", q.Token)
	}
	return nil
}

// exposed refuses addresses that can be reached from other machines without a token.
func (s *Settings) exposed(addresses map[string]string, tokenKey, token string) error {
	for key, address := range addresses {
		if address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("%s: %q is no host:port", key, address)
		}
		ip := net.ParseIP(host)
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) && token == "" && !s.Insecure {
			return fmt.Errorf("%s: %s leaves this machine; set %s, or insecure if something else protects it", key, address, tokenKey)
		}
	}
	return nil
}

// print writes the settings as a file for --config, without secrets.
func (s *Settings) print(w io.Writer) error {
	shown := *s
	for _, secret := range []*string{&shown.Collect.Token, &shown.Serve.Token} {
		if *secret != "" {
			*secret = "(not shown)"
		}
	}
	if at := strings.LastIndexByte(shown.Storage.DSN, '@'); at >= 0 {
		shown.Storage.DSN = "clickhouse://(not shown)" + shown.Storage.DSN[at:]
	}
	out := yaml.NewEncoder(w)
	out.SetIndent(2)
	return out.Encode(settingsNode(reflect.ValueOf(shown)))
}

// settingsNode is a struct of settings as YAML, under the names of its flags and in their order.
func settingsNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: flagName(f)}
		value := &yaml.Node{}
		switch x := v.Field(i).Interface().(type) {
		case fmt.Stringer:
			value.SetString(x.String())
		default:
			if f.Type.Kind() == reflect.Struct {
				key.Value = strings.TrimSuffix(f.Tag.Get("prefix"), "-")
				value = settingsNode(v.Field(i))
			} else if err := value.Encode(x); err != nil {
				continue
			}
		}
		node.Content = append(node.Content, key, value)
	}
	return node
}

func flagName(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	var b strings.Builder
	for i, r := range f.Name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// configPath finds --config before the flags are parsed.
func configPath(args []string) string {
	for i, a := range args {
		if path, ok := strings.CutPrefix(a, "--config="); ok {
			return path
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return os.Getenv("WHOSEHOP_CONFIG")
}

// fileResolver gives kong the values of the configuration file.
type fileResolver struct {
	path   string
	values map[string]any // by flag name
}

func (r *fileResolver) load(path string) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return fmt.Errorf("--config %s: %w", path, err)
	}
	r.path, r.values = path, make(map[string]any)
	for section, value := range tree {
		group, ok := value.(map[string]any)
		if !ok {
			r.values[section] = value
			continue
		}
		for key, v := range group {
			r.values[section+"-"+key] = v
		}
	}
	return nil
}

// Validate implements kong.Resolver.
func (r *fileResolver) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. A variable of the environment wins over the file.
func (r *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	switch v := r.values[flag.Name].(type) {
	case nil:
		return nil, nil
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = fmt.Sprint(v[i])
		}
		return strings.Join(parts, ","), nil
	case bool:
		return v, nil
	default:
		return fmt.Sprint(v), nil
	}
}

// unknown refuses keys of the file that are no settings.
func (r *fileResolver) unknown(app *kong.Application) error {
	known := make(map[string]bool)
	for _, f := range app.Flags {
		known[f.Name] = true
	}
	for name := range r.values {
		if !known[name] {
			return fmt.Errorf("--config %s: there is no setting %s", r.path, strings.Replace(name, "-", ".", 1))
		}
	}
	return nil
}
