package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/whosehop/whosehop/query"
)

// Remote is a query server.
type Remote struct{ URL, Token string }

// toolsMost bounds the tools that are taken over.
const toolsMost = 100

// Forward serves on a pair of streams the tools of a server that runs elsewhere, until in or ctx ends: what a client that starts
// programs itself needs.
func Forward(ctx context.Context, r Remote, in io.ReadCloser, out io.WriteCloser) error {
	session, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	about := session.InitializeResult()
	server := mcp.NewServer(about.ServerInfo, &mcp.ServerOptions{
		Instructions: about.Instructions, Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}, Logger: slog.New(slog.DiscardHandler),
	})
	found := 0
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return fmt.Errorf("list the tools of %s: %w", r.URL, err)
		}
		if found++; found > toolsMost {
			return fmt.Errorf("%s has more than %d tools", r.URL, toolsMost)
		}
		server.AddTool(tool, func(ctx context.Context, call *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: call.Params.Name, Arguments: call.Params.Arguments})
			if err == nil || ctx.Err() != nil {
				return result, err
			}
			result = new(mcp.CallToolResult)
			result.SetError(fmt.Errorf("the whosehop server at %s did not answer; call again in a few seconds: %w", r.URL, err))
			return result, nil
		})
	}
	err = server.Run(ctx, &mcp.IOTransport{Reader: in, Writer: out})
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (r Remote) connect(ctx context.Context) (*mcp.ClientSession, error) {
	const patience = 10 * time.Second
	connecting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "whosehop", Version: "1"}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
	session, err := client.Connect(connecting, &mcp.StreamableClientTransport{
		Endpoint: strings.TrimSuffix(r.URL, "/") + "/mcp", DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Transport: bearer{r.Token}, Timeout: query.QuestionTimeout + 5*time.Second},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("no query server answers at %s; start one with `whosehop up`, or name it with --server, and its token with --token: %w", r.URL, err)
	}
	return session, nil
}

// bearer brings a token.
type bearer struct{ token string }

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return http.DefaultTransport.RoundTrip(r)
}
