// Package process measures what a process uses.
package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Process is one whose CPU and memory are measured from Measure on. One that has ended is an error: its
// successor would begin at nothing.
type Process struct {
	pid    int
	before time.Duration
}

// Measure begins to measure a process.
func Measure(pid int) (*Process, error) {
	// Begins a new peak of resident memory.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return nil, err
	}
	p := &Process{pid: pid}
	var err error
	p.before, err = p.CPU()
	return p, err
}

// CPU is what all its threads have used, in clock ticks of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 || fields[0] == "Z" {
		return 0, fmt.Errorf("process %d has ended", p.pid)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system)*10*time.Millisecond - p.before, err
}

// PeakMB is the most resident memory that it has had.
func (p *Process) PeakMB() (float64, error) { return p.memory("VmHWM:") }

// MB is its resident memory.
func (p *Process) MB() (float64, error) { return p.memory("VmRSS:") }

func (p *Process) memory(field string) (mb float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), field)
	kb, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.Atoi(kb)
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", p.pid, err)
	}
	return float64(n) / 1024, nil
}
