package native

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
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

// revision is the version of the protocol that is spoken: the last in which columns come in their plain
// form only. With the next one, columns that are mostly empty come as lists of what is not. ClickHouse has had
// it since 21.11.
var revision = proto.FeatureParallelReplicas.Version()

// Conn is a connection that inserts packed blocks and reads columns. After an error it is of no more use. It is
// not safe for concurrent use.
type Conn struct {
	conn     net.Conn
	local    bool // nothing is gained by packing what does not leave the machine
	in       *stream
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
	c := &Conn{conn: conn, local: isLocal(conn), in: from(conn)}
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
	if err := c.hello(); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	return nil
}

// hello reads what the server says of itself: name, version, protocol, timezone, name on screens, patch.
func (c *Conn) hello() error {
	if _, err := c.in.text(); err != nil {
		return err
	}
	if err := c.in.skipUvarints(2); err != nil {
		return err
	}
	theirs, err := c.in.uvarint()
	if err != nil {
		return err
	}
	if theirs < uint64(revision) {
		return fmt.Errorf("the server's protocol is %d, older than %d: use ClickHouse 21.11 or newer", theirs, revision)
	}
	for range 2 {
		if _, err := c.in.text(); err != nil {
			return err
		}
	}
	return c.in.skipUvarints(1)
}

func isLocal(conn net.Conn) bool {
	address, ok := conn.RemoteAddr().(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}

// Setting is a setting of one statement. A server that does not know it refuses the statement, unless it is optional.
type Setting struct {
	Key, Value string
	Optional   bool
}

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
	c.query("INSERT INTO "+table+" (`"+strings.Join(columns, "`, `")+"`) FORMAT Native", proto.CompressionEnabled, settings)
	if err := c.data("", c.empty); err != nil { // no tables of our own come with the query
		return err
	}
	if err := c.await(proto.ServerCodeData, skipBlock(unpacked(c.in))); err != nil { // the columns of the table: it is ready
		return err
	}
	if err := c.data("", frames); err != nil {
		return err
	}
	if err := c.data("", c.empty); err != nil {
		return err
	}
	return c.await(proto.ServerCodeEndOfStream, skipBlock(unpacked(c.in)))
}

// query encodes a statement.
func (c *Conn) query(body string, compression proto.Compression, settings []Setting) {
	query := proto.Query{
		Body: body, Stage: proto.StageComplete, Compression: compression,
		Info: proto.ClientInfo{ProtocolVersion: revision, Interface: proto.InterfaceTCP, Query: proto.ClientQueryInitial, InitialAddress: "0.0.0.0:0", ClientName: "whosehop"},
	}
	// Times are written in UTC, whatever the server's zone is.
	query.Settings = append(c.settings[:0], proto.Setting{Key: "send_profile_events", Value: "0"}, proto.Setting{Key: "session_timezone", Value: "UTC"})
	for _, s := range settings {
		query.Settings = append(query.Settings, proto.Setting{Key: s.Key, Value: s.Value, Important: !s.Optional})
	}
	c.settings = query.Settings
	query.EncodeAware(&c.out, revision)
}

// Column is a column of an answer: its name and type, as ClickHouse must call them, and what reads its rows.
type Column struct {
	Name, Type string
	read       func(s *stream, rows int) error
}

// IDs is a table of one column that comes with a question, by the name of ids.
type IDs struct {
	Column string
	Rows   int
	// Values are the texts, each with its length before it.
	Values []byte
}

// Select asks for columns and reads them, block by block; done is called after each.
func (c *Conn) Select(ctx context.Context, body string, ids *IDs, columns []Column, done func(rows int) error, settings ...Setting) error {
	defer c.bound(ctx)()
	if deadline, ok := ctx.Deadline(); ok {
		// ClickHouse gives up by itself as well, should it not hear that this connection is closed.
		settings = append(slices.Clip(settings), Setting{Key: "max_execution_time", Value: strconv.Itoa(1 + int(max(0, time.Until(deadline).Seconds())))})
	}
	err := c.selectColumns(body, ids, columns, done, settings)
	if ctxErr := context.Cause(ctx); err != nil && ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	return err
}

func (c *Conn) selectColumns(body string, ids *IDs, columns []Column, done func(rows int) error, settings []Setting) error {
	var f frames
	compression, in := proto.CompressionDisabled, c.in
	pack := func() []byte { return f.raw }
	if !c.local {
		compression, in = proto.CompressionEnabled, unpacked(c.in)
		pack = func() []byte { f.pack(); return f.packed }
	}
	c.query(body, compression, settings)
	if ids != nil {
		f.raw = append(f.raw, blockInfo...)
		f.varint(1)
		f.varint(ids.Rows)
		f.string(ids.Column)
		f.string("String")
		f.raw = append(f.raw, ids.Values...)
		if err := c.data("ids", pack()); err != nil {
			return err
		}
		f.raw, f.packed = f.raw[:0], f.packed[:0]
	}
	f.raw = append(f.raw, blockInfo...)
	f.varint(0)
	f.varint(0)
	if err := c.data("", pack()); err != nil {
		return err
	}
	return c.await(proto.ServerCodeEndOfStream, func() error {
		rows, err := readBlock(in, columns)
		if err == nil && rows > 0 {
			err = done(rows)
		}
		return err
	})
}

// data sends a block of a table; one without columns of the table without a name ends the data.
func (c *Conn) data(table string, block []byte) error {
	proto.ClientCodeData.Encode(&c.out)
	proto.ClientData{TableName: table}.EncodeAware(&c.out, revision)
	return c.flush(block)
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

// await reads packets up to one of the wanted kind; block reads those that hold columns.
func (c *Conn) await(wanted proto.ServerCode, block func() error) error {
	for {
		code, err := c.packet()
		if err != nil {
			return err
		}
		switch code {
		case proto.ServerCodeData, proto.ServerCodeTotals, proto.ServerCodeExtremes:
			if _, err = c.in.text(); err == nil { // the table's name
				err = block()
			}
		case proto.ServerCodeProgress: // rows, bytes, rows in total, rows and bytes written
			err = c.in.skipUvarints(5)
		case proto.ServerCodeProfile: // rows, blocks, bytes, (limited), rows before the limit, (known): flags read as numbers
			err = c.in.skipUvarints(6)
		case proto.ServerCodeTableColumns:
			if _, err = c.in.text(); err == nil {
				_, err = c.in.text()
			}
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

// blockHead reads what stands before the columns of a block.
func blockHead(s *stream) (columns, rows int, err error) {
	for {
		field, err := s.uvarint()
		if err != nil {
			return 0, 0, err
		}
		switch field {
		case 0:
			c, err := s.uvarint()
			if err != nil {
				return 0, 0, err
			}
			r, err := s.uvarint()
			if c > columnsMax || r > rowsMax {
				err = fmt.Errorf("%w: a block of %d columns and %d rows", errBroken, c, r)
			}
			return int(c), int(r), err
		case 1:
			_, err = s.take(1)
		case 2:
			_, err = s.take(4)
		default:
			err = fmt.Errorf("%w: block field %d", errBroken, field)
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

const (
	columnsMax = 1 << 16
	rowsMax    = 1 << 28
)

// skipBlock reads a block of no rows.
func skipBlock(s *stream) func() error {
	return func() error {
		columns, rows, err := blockHead(s)
		if err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%w: rows that nobody asked for", errBroken)
		}
		for range 2 * columns { // name and type
			if _, err := s.text(); err != nil {
				return err
			}
		}
		return nil
	}
}

func readBlock(s *stream, wanted []Column) (rows int, err error) {
	columns, rows, err := blockHead(s)
	if err != nil || columns == 0 {
		return 0, err
	}
	if columns != len(wanted) {
		return 0, fmt.Errorf("%w: %d columns of %d", errBroken, columns, len(wanted))
	}
	for i := range wanted {
		w := &wanted[i]
		if name, err := s.text(); err != nil || string(name) != w.Name {
			return 0, errors.Join(err, fmt.Errorf("%w: column %q is not %s", errBroken, name, w.Name))
		}
		if kind, err := s.text(); err != nil || !strings.HasPrefix(string(kind), w.Type) {
			return 0, errors.Join(err, fmt.Errorf("column %s is %s and not %s", w.Name, kind, w.Type))
		}
		if rows == 0 {
			continue
		}
		if err := w.read(s, rows); err != nil {
			return 0, fmt.Errorf("column %s: %w", w.Name, err)
		}
	}
	return rows, nil
}

// packet reads the kind of the next packet; an exception is an error, a *ch.Exception.
func (c *Conn) packet() (proto.ServerCode, error) {
	n, err := c.in.uvarint()
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	code := proto.ServerCode(min(n, 0xff)) // of one byte: what is more is none
	if code != proto.ServerCodeException {
		return code, nil
	}
	number, err := c.in.take(4)
	if err != nil {
		return 0, fmt.Errorf("read an exception: %w", err)
	}
	e := &ch.Exception{Code: proto.Error(binary.LittleEndian.Uint32(number))}
	for _, text := range []*string{&e.Name, &e.Message, &e.Stack} {
		if *text, err = c.in.string(); err != nil {
			return 0, fmt.Errorf("read an exception: %w", err)
		}
	}
	return 0, e
}
