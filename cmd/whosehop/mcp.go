package main

import (
	"context"
	"io"

	"github.com/whosehop/whosehop/query/mcp"
)

type mcpCmd struct {
	serverFlags `embed:""`
}

func (mcpCmd) Help() string {
	return `A client that speaks HTTP connects to /mcp of the query server itself; docs/mcp.md tells how.

Example:
  whosehop mcp --server http://127.0.0.1:8080`
}

func (c *mcpCmd) Run(ctx context.Context, s *streams) error {
	return mcp.Forward(ctx, mcp.Remote{URL: c.Server, Token: c.Token}, io.NopCloser(s.in), unclosed{s.out})
}

// unclosed is a stream that is closed by whoever opened it.
type unclosed struct{ io.Writer }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }
