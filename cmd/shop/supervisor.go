package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// addressesEnv tells every service where all of them are: name=host:port,…
const addressesEnv = "SHOP_ADDRESSES"

// runShop starts all services, each in a process of its own, puts them under load, and ends them
// when ctx does.
func runShop(ctx context.Context, c *runCmd, out io.Writer) error {
	addresses, list, err := reserve()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	env := append(os.Environ(), addressesEnv+"="+list, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.OTLP)
	var group sync.WaitGroup
	defer group.Wait()
	// The services outlive the load, so that what is under way comes to its end.
	services, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for _, name := range serviceNames {
		group.Go(func() { keepRunning(services, self, name, env) })
	}
	front := addresses["storefront"]
	if err := awaitShop(ctx, addresses); err != nil {
		return err
	}
	what := "no fault is on"
	if c.Fault != "" {
		what = "one request in three is hit by " + c.Fault
	}
	_, _ = fmt.Fprintf(out, "the shop is open at http://%s/checkout, %g requests a second, %s\n", front, c.Rate, what)
	load(ctx, front, c)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		time.Sleep(settle)
	}
	return nil
}

// settle is how long the services go on after the last answer of a run that ended in time: the
// slowest has a call to end that nobody waits for, and all have spans to send.
const settle = 3 * time.Second

// reserve picks a free port for each service.
func reserve() (addresses map[string]string, list string, err error) {
	addresses = make(map[string]string)
	var parts []string
	for _, name := range serviceNames {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
		if err != nil {
			return nil, "", fmt.Errorf("find a port for %s: %w", name, err)
		}
		addresses[name] = l.Addr().String()
		parts = append(parts, name+"="+addresses[name])
		defer func() { _ = l.Close() }() // all at the end, so that no port is given twice
	}
	return addresses, strings.Join(parts, ","), nil
}

// keepRunning starts a service again whenever it dies. The thread that forks it must live as long as
// it does: the kernel sends the death signal when that thread ends.
func keepRunning(ctx context.Context, self, name string, env []string) {
	runtime.LockOSThread()
	for ctx.Err() == nil {
		cmd := exec.Command(self, "service", name) //nolint:noctx // ended below, by asking first
		cmd.Env = append(env[:len(env):len(env)], "OTEL_SERVICE_NAME="+name)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := cmd.Start(); err != nil {
			_, _ = fmt.Fprintf(os.Stderr, "shop: start %s: %v\n", name, err)
			return
		}
		stop := context.AfterFunc(ctx, func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		})
		_ = cmd.Wait() // however it ended, it is started again
		stop()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func awaitShop(ctx context.Context, addresses map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var dialer net.Dialer
	for name, address := range addresses {
		for {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s did not start: %w", name, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// load asks for the checkout at a steady rate; one request in three brings the fault along, as
// baggage, which the services hand on.
func load(ctx context.Context, front string, c *runCmd) {
	random := rand.New(rand.NewPCG(uint64(c.Seed), 0)) //nolint:gosec // a load, not a secret
	client := &http.Client{Timeout: 10 * time.Second}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / c.Rate))
	defer ticker.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		hit := c.Fault != "" && random.IntN(3) == 0
		group.Go(func() {
			request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+front+"/checkout", nil)
			if err != nil {
				return
			}
			if hit {
				request.Header.Set("baggage", "shop.fault="+c.Fault)
			}
			if response, err := client.Do(request); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
}
