// Package collector receives OTLP over gRPC and HTTP and stores it: concurrent requests share a
// block, and a request is answered only when its block is stored.
package collector

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/whosehop/whosehop/storage/native"
)

// Config is what a collector is given. Sizes are in bytes.
type Config struct {
	GRPC string // host:port, empty for none
	HTTP string
	// RequestBytesMax bounds one request, unpacked.
	RequestBytesMax int
	// PendingBytesMax bounds what was received and is not yet stored: the bytes of requests, then of
	// the columns that they were decoded into. gRPC messages that are still arriving are bounded by
	// as much again.
	PendingBytesMax int64
	// Linger is how long a request waits for others to share its block.
	Linger time.Duration
	// InsertTimeout is how long storing is tried before the sender is told to come again.
	InsertTimeout time.Duration
	// SpoolDir is where blocks wait that ClickHouse does not take; empty for no spool.
	SpoolDir string
	// SpoolBytesMax and SpoolAgeMax, that of the oldest block, are when the spool is full.
	SpoolBytesMax int64
	SpoolAgeMax   time.Duration
	// SpoolAfter is how long a block may wait for ClickHouse before it goes to the spool.
	SpoolAfter time.Duration
	// DrainTimeout bounds how long requests under way are waited for at the end; 0 is 10 s.
	DrainTimeout time.Duration
	TLSCert      string
	TLSKey       string
	Token        string // senders must bring it as a bearer token; empty for none
}

// The offsets in a block's columns have 32 bits: what is pending, and a request of the largest size
// unfolded on top of it (JSON escapes make six bytes of one), stays below.
const (
	requestBytesLimit = 256 << 20
	pendingBytesLimit = 2 << 30
)

// Validate names the first key that cannot be.
func (c *Config) Validate() error {
	for _, a := range []struct{ key, address string }{{"collector.grpc", c.GRPC}, {"collector.http", c.HTTP}} {
		if a.address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a.address); err != nil {
			return fmt.Errorf("%s: %q is no host:port: %w", a.key, a.address, err)
		}
	}
	switch {
	case c.GRPC == "" && c.HTTP == "":
		return fmt.Errorf("collector.grpc and collector.http: both are empty, nothing would be received")
	case c.RequestBytesMax < 1<<10:
		return fmt.Errorf("collector.request-bytes-max: %d is less than 1 KiB", c.RequestBytesMax)
	case c.RequestBytesMax > requestBytesLimit:
		return fmt.Errorf("collector.request-bytes-max: %d is more than 256 MiB", c.RequestBytesMax)
	case c.PendingBytesMax > pendingBytesLimit:
		return fmt.Errorf("collector.pending-bytes-max: %d is more than 2 GiB", c.PendingBytesMax)
	case c.PendingBytesMax < int64(c.RequestBytesMax):
		return fmt.Errorf("collector.pending-bytes-max: %d is less than collector.request-bytes-max", c.PendingBytesMax)
	case c.Linger < 0 || c.Linger > 10*time.Second:
		return fmt.Errorf("collector.linger: %s is not within 0s and 10s", c.Linger)
	case c.InsertTimeout < time.Second:
		return fmt.Errorf("collector.insert-timeout: %s is less than 1s", c.InsertTimeout)
	case c.SpoolDir != "" && c.SpoolBytesMax < 1<<20:
		return fmt.Errorf("collector.spool-bytes-max: %d is less than 1 MiB; 0 is for no spool", c.SpoolBytesMax)
	case c.SpoolDir != "" && c.SpoolAgeMax < time.Minute:
		return fmt.Errorf("collector.spool-age-max: %s is less than 1m", c.SpoolAgeMax)
	case c.SpoolDir != "" && (c.SpoolAfter < 10*time.Millisecond || c.SpoolAfter > c.InsertTimeout):
		return fmt.Errorf("collector.spool-after: %s is not within 10ms and collector.insert-timeout", c.SpoolAfter)
	case c.DrainTimeout < 0:
		return fmt.Errorf("collector.drain-timeout: %s is negative", c.DrainTimeout)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("collector.tls-cert and collector.tls-key: one is given without the other")
	}
	return nil
}

// Sink is where spans are stored. storage.DB is one.
type Sink interface {
	// InsertBlock stores a block in its shard: all of it or nothing. again says that the same block was tried before,
	// perhaps with success: it must not be stored twice. It returns soon after ctx has ended. An error that is
	// Retryable() bool passes, as does one that ctx's end brought about; any other will come again, and the
	// block is given up.
	InsertBlock(ctx context.Context, p *native.Packed, again bool) error
	// Shards says which shards there are, and which traces lie on them: one shard if this is no cluster. It is nil as long
	// as that is not known, because ClickHouse has not been reached since the start; senders are told to come again until
	// then, since not even the spool can take what has no shard. Once known it stays.
	Shards() *native.Shards
}
