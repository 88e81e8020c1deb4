package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/collector"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
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
	Cluster           string        `help:"A cluster that this ClickHouse knows: spans are spread over its shards." placeholder:"NAME"`
	Traces            string        `help:"A table of spans that an OpenTelemetry ClickHouse exporter fills, as database.table: it is read instead of our own." placeholder:"TABLE"`
	Dir               string        `help:"Where a ClickHouse that is started keeps its data." default:"whosehop-data" type:"file"`
	Engine            string        `help:"The embedded ClickHouse library; looked for if not given." type:"file" placeholder:"FILE"`
	MemoryBytesMax    size          `help:"Memory of a ClickHouse that is started." default:"4GiB"`
	RetentionSpans    time.Duration `help:"How long spans are kept; 0 is for ever." default:"168h"`
	RetentionVerdicts time.Duration `help:"How long verdicts are kept; 0 is for ever." default:"2160h"`
	RetentionHistory  time.Duration `help:"How long is kept what was caused and suffered, summed up by the hour; 0 is for ever." default:"9600h"`
	RetentionBaseline time.Duration `help:"How long what was learnt counts as normal; 0 is for ever." default:"336h"`
}

type collectorSettings struct {
	GRPC            string        `name:"grpc" help:"OTLP/gRPC listens here; without a host on loopback, :0 picks a port." default:"127.0.0.1:4317" placeholder:"ADDR"`
	HTTP            string        `name:"http" help:"OTLP/HTTP listens here." default:"127.0.0.1:4318" placeholder:"ADDR"`
	Health          string        `help:"Health and metrics of the collector role." default:"127.0.0.1:13133" placeholder:"ADDR"`
	RequestBytesMax size          `help:"The largest request, unpacked." default:"32MiB"`
	PendingBytesMax size          `help:"What may be received and not yet stored." default:"256MiB"`
	Linger          time.Duration `help:"How long a request waits for others to share its block." default:"100ms"`
	InsertTimeout   time.Duration `help:"How long one try to store a block may take, and how long senders wait when there is no spool." default:"10s"`
	SpoolDir        string        `help:"Where blocks wait that ClickHouse does not take; if not given, in storage.dir." type:"file" placeholder:"DIR"`
	SpoolBytesMax   size          `help:"What may wait there before senders are told to come again; 0 is for no spool." default:"8GiB"`
	SpoolAgeMax     time.Duration `help:"How long the oldest block may wait there before senders are told to come again." default:"24h"`
	SpoolAfter      time.Duration `help:"How long a block may wait for ClickHouse before it goes there." default:"2s"`
	TLSCert         string        `name:"tls-cert" help:"Certificate of both ports." type:"file" placeholder:"FILE"`
	TLSKey          string        `name:"tls-key" help:"Its key." type:"file" placeholder:"FILE"`
	Token           string        `help:"Senders must bring it as a bearer token."`
}

type analyzerSettings struct {
	Quiet            time.Duration `help:"How long a trace must have got no span before it is judged." default:"5s"`
	WaitMax          time.Duration `help:"How long a trace that gets no quiet is waited for." default:"60s"`
	Scope            string        `help:"Which traces are judged: failing; slow, which is those and what takes longer than normal; or all." default:"slow"`
	SLO              slos          `name:"slo" help:"How long an entry or a consumer may take, by its operation or its service and operation; may be given again." sep:";" placeholder:"ENTRY=DURATION"`
	Shard            shard         `help:"The part of all traces that this analyzer judges, as 0/2 is the first of two; if not given, all analyzers that run share the work." placeholder:"I/N"`
	Workers          int           `help:"How many batches are judged at once." default:"2"`
	SpansMax         int           `help:"How many spans of one trace are looked at." default:"100000"`
	MemoryBytesMax   size          `help:"What spans that are being judged may take." default:"256MiB"`
	MetricsSeriesMax int           `help:"How many combinations of labels a metric about services and owners has at most; what is beyond counts as other." default:"2000"`
	Health           string        `help:"Health and metrics of the analyzer role." default:"127.0.0.1:13134" placeholder:"ADDR"`
}

type querySettings struct {
	HTTP    string `name:"http" help:"Web pages, REST, health and metrics." default:"127.0.0.1:8080" placeholder:"ADDR"`
	GRPC    string `name:"grpc" help:"gRPC." default:"127.0.0.1:8081" placeholder:"ADDR"`
	TLSCert string `name:"tls-cert" help:"Certificate of both ports." type:"file" placeholder:"FILE"`
	TLSKey  string `name:"tls-key" help:"Its key." type:"file" placeholder:"FILE"`
	Token   string `help:"Whoever asks must bring it: as a bearer token, or in a browser as the password."`

	PublicURL    string `name:"public-url" help:"Where people reach the pages, for links to verdicts." placeholder:"URL"`
	TraceLink    string `name:"trace-link" help:"Where a trace is in another store, with {traceId} in it, and perhaps {spanId}, {fromMs} and {toMs}." placeholder:"URL"`
	QuestionsMax int    `help:"Questions that are answered at once; four times as many wait their turn." default:"16"`
}

type ownershipSettings struct {
	File       string   `help:"A file or a folder that says who owns what, applied to the registry at the start." type:"file" placeholder:"PATH"`
	Attributes []string `help:"Resource attributes that name an owner, the first that is set." default:"service.owner.name,team,owner,service.namespace"`
	Labels     []string `help:"Labels and annotations of Kubernetes manifests that name an owner, the first that is set; a8r.io/owner comes before them." default:"dt.owner,owner,team"`
	Precedence []string `help:"Formats of catalogs: where two say differently who owns something, the one that stands first here counts." default:"whosehop,backstage,datadog,opslevel,cortex,kubernetes,codeowners,gitlab-codeowners,sentry"`
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
	if err != nil || n < 0 || n > math.MaxInt64/unit {
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

// shard is a part of all traces: 0/2 is the first of two, and an empty one is what the analyzers divide themselves.
type shard storage.Slice

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *shard) UnmarshalText(text []byte) error {
	*s = shard{}
	if len(text) == 0 {
		return nil
	}
	index, of, ok := strings.Cut(string(text), "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(of)
	if !ok || err1 != nil || err2 != nil || n < 1 || i < 0 || i >= n {
		return fmt.Errorf("%q is no part: write 0/2 and 1/2 for two halves", text)
	}
	*s = shard{From: i, To: i + 1, Of: n}
	return nil
}

func (s shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.From, s.Of)
}

// slos are what operations may take, in nanoseconds.
type slos map[string]int64

// Decode implements kong.MapperValue. It adds to what was given before.
func (s *slos) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("slo", &text); err != nil {
		return err
	}
	if *s == nil {
		*s = make(slos)
	}
	for _, one := range kong.SplitEscaped(text, ctx.Value.Tag.Sep) {
		at := max(0, strings.LastIndexByte(one, '=')) // there may be others in a name
		entry := strings.TrimSpace(one[:at])
		slo, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(one[at:], "=")))
		if err != nil || slo <= 0 || entry == "" {
			return fmt.Errorf("%q is no SLO like \"GET /checkout=300ms\"", one)
		}
		if _, twice := (*s)[entry]; twice {
			return fmt.Errorf("%q is given twice", entry)
		}
		(*s)[entry] = int64(slo)
	}
	return nil
}

// MarshalYAML implements yaml.Marshaler.
func (s slos) MarshalYAML() (any, error) {
	list := make([]string, 0, len(s))
	for _, entry := range slices.Sorted(maps.Keys(s)) {
		list = append(list, fmt.Sprint(entry, "=", time.Duration(s[entry])))
	}
	return list, nil
}

var scopes = map[string]storage.Scope{"failing": storage.Failing, "slow": storage.Slow, "all": storage.All}

// listenAddress puts an address without a host on loopback: nothing leaves the machine unasked.
func listenAddress(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

func (s *Settings) collectorConfig() collector.Config {
	c := &s.Collect
	spool := c.SpoolDir
	switch {
	case c.SpoolBytesMax == 0:
		spool = ""
	case spool == "":
		spool = filepath.Join(s.Storage.Dir, "spool")
	}
	return collector.Config{
		SpoolDir: spool, SpoolBytesMax: int64(c.SpoolBytesMax), SpoolAgeMax: c.SpoolAgeMax, SpoolAfter: c.SpoolAfter,
		GRPC: listenAddress(c.GRPC), HTTP: listenAddress(c.HTTP), RequestBytesMax: int(c.RequestBytesMax), PendingBytesMax: int64(c.PendingBytesMax),
		Linger: c.Linger, InsertTimeout: c.InsertTimeout, TLSCert: c.TLSCert, TLSKey: c.TLSKey, Token: c.Token,
	}
}

// foreignLate is how long spans may take from their start into a table that others fill: senders and the Collector
// gather batches for some seconds each, and spans are sent when they end.
const foreignLate = 20 * time.Second

func (s *Settings) analyzerConfig() analyzer.Config {
	a := &s.Analyze
	return analyzer.Config{
		Quiet: a.Quiet, WaitMax: a.WaitMax, Workers: a.Workers, SpansMax: a.SpansMax,
		Late: map[bool]time.Duration{true: foreignLate}[s.Storage.Traces != ""], Scope: scopes[a.Scope], BytesMax: int64(a.MemoryBytesMax), SeriesMax: a.MetricsSeriesMax, SLO: a.SLO, Slice: storage.Slice(a.Shard),
		KeepVerdicts: s.Storage.RetentionVerdicts,
	}
}

// questionsMost bounds query.questions-max: ClickHouse itself takes a hundred statements at once.
const questionsMost = 1000

// roles says which parts of the settings a command uses.
type roles struct{ collect, analyze, serve bool }

// validate names the first key that cannot be, of the roles that are to run.
func (s *Settings) validate(r roles) error {
	if s.Storage.RetentionSpans < 0 || s.Storage.RetentionVerdicts < 0 || s.Storage.RetentionHistory < 0 || s.Storage.RetentionBaseline < 0 {
		return errors.New("storage.retention-spans, -verdicts, -history and -baseline: none can be negative")
	}
	if s.Storage.DSN == "" && s.Storage.MemoryBytesMax < 512<<20 {
		return fmt.Errorf("storage.memory-bytes-max: %s is less than 512MiB", s.Storage.MemoryBytesMax)
	}
	if s.Storage.Cluster != "" && (s.Storage.DSN == "" || s.Storage.Traces != "") {
		return errors.New("storage.cluster: it goes with storage.dsn, and not with storage.traces")
	}
	if r.collect && s.Storage.Traces != "" {
		return errors.New("storage.traces: somebody else fills that table; run the roles analyzer and query without a collector")
	}
	if r.collect {
		cfg := s.collectorConfig()
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	if r.analyze {
		if _, ok := scopes[s.Analyze.Scope]; !ok {
			return fmt.Errorf("analyzer.scope: %q is none of failing, slow and all", s.Analyze.Scope)
		}
		cfg := s.analyzerConfig()
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	if q := &s.Serve; r.serve && (q.TLSCert == "") != (q.TLSKey == "") {
		return errors.New("query.tls-cert and query.tls-key: one is given without the other")
	}
	if n := s.Serve.QuestionsMax; r.serve && (n < 1 || n > questionsMost) {
		return fmt.Errorf("query.questions-max: %d is not within 1 and %d", n, questionsMost)
	}
	if _, err := query.ParseLinks(s.Serve.PublicURL, s.Serve.TraceLink); err != nil {
		return err
	}
	for _, p := range s.ports(r) {
		if err := s.checkPort(p); err != nil {
			return err
		}
	}
	return nil
}

// port is an address that a role listens on, and what protects it.
type port struct {
	key, address string
	tokenKey     string // empty for a port that shows nothing but health and counts
	token        string
	encrypted    bool
}

// ports are those of the roles that are to run, health included where a role has a port for it.
func (s *Settings) ports(r roles) []port {
	var all []port
	if c := &s.Collect; r.collect {
		for _, p := range []port{{key: "collector.grpc", address: c.GRPC}, {key: "collector.http", address: c.HTTP}} {
			if p.address != "" { // one of them may be left out
				p.tokenKey, p.token, p.encrypted = "collector.token", c.Token, c.TLSCert != ""
				all = append(all, p)
			}
		}
		if !r.serve {
			all = append(all, port{key: "collector.health", address: c.Health})
		}
	}
	if r.analyze && !r.serve {
		all = append(all, port{key: "analyzer.health", address: s.Analyze.Health})
	}
	if q := &s.Serve; r.serve {
		for _, p := range []port{{key: "query.http", address: q.HTTP}, {key: "query.grpc", address: q.GRPC}} {
			p.tokenKey, p.token, p.encrypted = "query.token", q.Token, q.TLSCert != ""
			all = append(all, p)
		}
	}
	for i := range all {
		all[i].address = listenAddress(all[i].address)
	}
	return all
}

// leaves says whether a port can be reached from other machines.
func (p *port) leaves() bool {
	host, _, _ := net.SplitHostPort(p.address)
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// checkPort refuses a port that can be reached from other machines without a token.
func (s *Settings) checkPort(p port) error {
	_, number, err := net.SplitHostPort(p.address)
	if err != nil {
		return fmt.Errorf("%s: %q is no host:port", p.key, p.address)
	}
	if n, err := strconv.Atoi(number); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s: %q has no port from 0 to 65535", p.key, p.address)
	}
	if p.tokenKey != "" && p.token == "" && p.leaves() && !s.Insecure {
		return fmt.Errorf("%s: %s leaves this machine; set %s, or insecure if something else protects it", p.key, p.address, p.tokenKey)
	}
	return nil
}

// writeYAML writes the settings as a file for --config, without secrets.
func (s *Settings) writeYAML(w io.Writer) error {
	shown := *s
	for _, secret := range []*string{&shown.Collect.Token, &shown.Serve.Token} {
		if *secret != "" {
			*secret = notShown
		}
	}
	shown.Storage.DSN = withoutSecrets(shown.Storage.DSN)
	out := yaml.NewEncoder(w)
	out.SetIndent(2)
	return out.Encode(settingsNode(reflect.ValueOf(shown)))
}

const notShown = "(not shown)"

// withoutSecrets is a DSN without its password, wherever that stands. It leaves a DSN that it made alone.
func withoutSecrets(dsn string) string {
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		if dsn == "" {
			return ""
		}
		return notShown
	}
	base, query, _ := strings.Cut(rest, "?")
	params, err := url.ParseQuery(query)
	at := strings.LastIndexByte(base, '@')
	if err != nil || (at < 0 && strings.Contains(query, "@")) { // a ? or @ that was not escaped: nobody knows what is secret
		return scheme + "://" + notShown
	}
	if user, _, has := strings.Cut(base[:max(at, 0)], ":"); has {
		base = user + ":xxxxx" + base[at:]
	}
	if query == "" {
		return scheme + "://" + base
	}
	if params.Has("password") {
		params.Set("password", "xxxxx")
		query = params.Encode()
	}
	return scheme + "://" + base + "?" + query
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

// fileMapper makes paths absolute. Kong's own makes the working directory of an empty one, which here
// means none.
type fileMapper struct{}

// Decode implements kong.Mapper.
func (fileMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var path string
	if err := ctx.Scan.PopValueInto("file", &path); err != nil {
		return err
	}
	if path != "" {
		path = kong.ExpandPath(path)
	}
	target.SetString(path)
	return nil
}

// settingKeys are the keys that a configuration file may have: "section.key", and "key" outside of
// the sections.
func settingKeys() map[string]bool {
	keys := make(map[string]bool)
	for section := range reflect.TypeFor[Settings]().Fields() {
		prefix, sectioned := section.Tag.Lookup("prefix")
		if !sectioned {
			keys[flagName(section)] = true
			continue
		}
		for f := range section.Type.Fields() {
			keys[strings.TrimSuffix(prefix, "-")+"."+flagName(f)] = true
		}
	}
	return keys
}

// fileResolver gives kong the values of the configuration file.
type fileResolver struct{ values map[string]any } // by flag name: a string, or several

// fileBytesMax bounds a configuration file.
const fileBytesMax = 1 << 20

// load reads a file. A key that is no setting is refused by name and line.
func (r *fileResolver) load(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	var tree map[string]yaml.Node
	if err := yaml.NewDecoder(io.LimitReader(f, fileBytesMax)).Decode(&tree); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("--config %s: %w", path, err)
	}
	r.values = make(map[string]any)
	known := settingKeys()
	for name, node := range tree {
		if err := r.add(known, name, &node); err != nil {
			return fmt.Errorf("--config %s: line %d: %w", path, node.Line, err)
		}
		if node.Kind != yaml.MappingNode {
			continue
		}
		var section map[string]yaml.Node
		if err := node.Decode(&section); err != nil {
			return fmt.Errorf("--config %s: %w", path, err)
		}
		for key, value := range section {
			if err := r.add(known, name+"."+key, &value); err != nil {
				return fmt.Errorf("--config %s: line %d: %w", path, value.Line, err)
			}
		}
	}
	return nil
}

// add takes one setting; a section is not one, but must be known.
func (r *fileResolver) add(known map[string]bool, key string, value *yaml.Node) error {
	isSection := func(k string) bool { return strings.HasPrefix(k, key+".") }
	switch {
	case !known[key] && !slices.ContainsFunc(slices.Collect(maps.Keys(known)), isSection):
		return fmt.Errorf("there is no setting %s", key)
	case known[key] && value.Kind == yaml.ScalarNode:
		if value.Tag != "!!null" {
			r.values[strings.ReplaceAll(key, ".", "-")] = value.Value
		}
		return nil
	case known[key] && value.Kind == yaml.SequenceNode:
		var list []string
		if err := value.Decode(&list); err != nil {
			return fmt.Errorf("%s: want a list of words", key)
		}
		r.values[strings.ReplaceAll(key, ".", "-")] = list
		return nil
	case known[key]:
		return fmt.Errorf("%s: want one value or a list", key)
	case value.Kind != yaml.MappingNode && value.Tag != "!!null":
		return fmt.Errorf("%s: want a section with settings in it", key)
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
	given, ok := r.values[flag.Name]
	if !ok {
		return nil, nil
	}
	value, one := given.(string)
	switch {
	case !one:
		return kong.JoinEscaped(given.([]string), flag.Tag.Sep), nil
	case flag.IsBool():
		set, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", value)
		}
		return set, nil
	}
	return value, nil
}
