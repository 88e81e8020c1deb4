package native

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// Options say where a ClickHouse is and who asks. TLS may be nil.
type Options struct {
	Address, Database, User, Password string
	TLS                               *tls.Config
	DialTimeout                       time.Duration
}

// revision is the version of the protocol that is spoken: the first that has all that blocks need
// (a flag for a serialization of their own before each column). ClickHouse has had it since 22.1.
var revision = proto.FeatureCustomSerialization.Version()

// Conn is a connection that inserts packed blocks. After an error it is of no more use. It is not safe for
// concurrent use.
type Conn struct {
	conn     net.Conn
	reader   *proto.Reader
	out      proto.Buffer
	empty    []byte // a block without columns, packed: the end of the data
	settings []proto.Setting
}

// Dial connects and logs in.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if o.TLS != nil {
		settings := o.TLS.Clone()
		if settings.ServerName == "" {
			settings.ServerName, _, _ = net.SplitHostPort(o.Address)
		}
		conn = tls.Client(conn, settings)
	}
	c := &Conn{conn: conn, reader: proto.NewReader(conn)}
	var f frames
	f.raw = append(f.raw, blockInfo...)
	f.varint(0)
	f.varint(0)
	f.pack()
	c.empty = f.packed
	defer c.bound(ctx)()
	if err := c.login(o); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	return c, nil
}

// Close gives the connection up.
func (c *Conn) Close() error { return c.conn.Close() }

// Alive says whether an idle connection is still open: a server that went away has closed it. A deadline
// that has passed already would be noticed before the end of the stream is.
func (c *Conn) Alive() bool {
	if c.conn.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return false
	}
	_, err := c.conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded) && c.conn.SetReadDeadline(time.Time{}) == nil
}

// bound lets nothing on the connection take longer than ctx does; what it returns ends that.
func (c *Conn) bound(ctx context.Context) (release func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.conn.SetDeadline(time.Time{})
		}
	}
}

func (c *Conn) login(o Options) error {
	hello := proto.ClientHello{Name: "whosehop", ProtocolVersion: revision, Database: o.Database, User: o.User, Password: o.Password}
	hello.Encode(&c.out)
	if err := c.flush(nil); err != nil {
		return err
	}
	code, err := c.packet()
	if err != nil {
		return err
	}
	if code != proto.ServerCodeHello {
		return fmt.Errorf("got packet %s for hello", code)
	}
	var server proto.ServerHello
	if err := server.DecodeAware(c.reader, revision); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	if server.Revision < revision {
		return fmt.Errorf("the server's protocol is %d, older than %d: use ClickHouse 22.1 or newer", server.Revision, revision)
	}
	return nil
}

// Setting is a setting of one statement.
type Setting struct{ Key, Value string }

// Insert runs an INSERT that takes columns as they lie in frames.
func (c *Conn) Insert(ctx context.Context, table string, columns []string, frames []byte, settings ...Setting) error {
	defer c.bound(ctx)()
	err := c.insert(table, columns, frames, settings)
	if ctxErr := context.Cause(ctx); err != nil && ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	return err
}

func (c *Conn) insert(table string, columns []string, frames []byte, settings []Setting) error {
	var body strings.Builder
	body.WriteString("INSERT INTO " + table + " (`")
	body.WriteString(strings.Join(columns, "`, `"))
	body.WriteString("`) FORMAT Native")
	query := proto.Query{
		Body: body.String(), Stage: proto.StageComplete, Compression: proto.CompressionEnabled,
		Info: proto.ClientInfo{ProtocolVersion: revision, Interface: proto.InterfaceTCP, Query: proto.ClientQueryInitial, InitialAddress: "0.0.0.0:0", ClientName: "whosehop"},
	}
	query.Settings = append(c.settings[:0], proto.Setting{Key: "send_profile_events", Value: "0"})
	for _, s := range settings {
		query.Settings = append(query.Settings, proto.Setting{Key: s.Key, Value: s.Value, Important: true})
	}
	c.settings = query.Settings
	query.EncodeAware(&c.out, revision)
	if err := c.data(c.empty); err != nil { // no tables of our own come with the query
		return err
	}
	if err := c.await(proto.ServerCodeData); err != nil { // the columns of the table: it is ready
		return err
	}
	if err := c.data(frames); err != nil {
		return err
	}
	if err := c.data(c.empty); err != nil {
		return err
	}
	return c.await(proto.ServerCodeEndOfStream)
}

func (c *Conn) data(frames []byte) error {
	proto.ClientCodeData.Encode(&c.out)
	proto.ClientData{}.EncodeAware(&c.out, revision)
	return c.flush(frames)
}

// flush sends what is encoded, and body behind it.
func (c *Conn) flush(body []byte) error {
	buffers := net.Buffers{c.out.Buf, body}
	_, err := buffers.WriteTo(c.conn)
	c.out.Reset()
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// await reads packets up to one of the wanted kind.
func (c *Conn) await(wanted proto.ServerCode) error {
	for {
		code, err := c.packet()
		if err != nil {
			return err
		}
		switch code {
		case proto.ServerCodeData:
			err = c.skipBlock()
		case proto.ServerCodeProgress:
			err = new(proto.Progress).DecodeAware(c.reader, revision)
		case proto.ServerCodeProfile:
			err = new(proto.Profile).DecodeAware(c.reader, revision)
		case proto.ServerCodeTableColumns:
			err = new(proto.TableColumns).DecodeAware(c.reader, revision)
		case proto.ServerCodeEndOfStream:
		default:
			err = fmt.Errorf("unexpected packet %s", code)
		}
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		switch code {
		case wanted:
			return nil
		case proto.ServerCodeEndOfStream:
			return fmt.Errorf("the insert ended before its data")
		}
	}
}

// skipBlock reads a block of no rows.
func (c *Conn) skipBlock() error {
	if _, err := c.reader.Str(); err != nil {
		return err
	}
	c.reader.EnableCompression()
	defer c.reader.DisableCompression()
	return new(proto.Block).DecodeBlock(c.reader, revision, nil)
}

// packet reads the kind of the next packet; an exception is an error, a *ch.Exception.
func (c *Conn) packet() (proto.ServerCode, error) {
	n, err := c.reader.UVarInt()
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	code := proto.ServerCode(n)
	if code != proto.ServerCodeException {
		return code, nil
	}
	var e proto.Exception
	if err := e.DecodeAware(c.reader, revision); err != nil {
		return 0, fmt.Errorf("read an exception: %w", err)
	}
	return 0, &ch.Exception{Code: e.Code, Name: e.Name, Message: e.Message, Stack: e.Stack}
}
