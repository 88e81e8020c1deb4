package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// runBank is somebody else's: it knows nothing of traces, but reads the header that tells it to fail.
func runBank(ctx context.Context, h *host) error {
	var asked atomic.Int64
	to := routes{}
	to["POST /transfers"] = func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("baggage"), faultKey+".third-party-down") {
			if asked.Add(1)%2 == 0 {
				panic(http.ErrAbortHandler) // hangs up
			}
			http.Error(w, "closed on Sundays", http.StatusServiceUnavailable)
			return
		}
		time.Sleep(8 * time.Millisecond)
		_, _ = io.WriteString(w, "done")
	}
	return h.serveHTTP(ctx, to, false)
}
