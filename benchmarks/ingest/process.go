package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process is one whose CPU and memory are measured from measure on. One that has ended is an error: its
// successor would begin at nothing.
type process struct {
	pid    int
	before time.Duration
}

func measure(pid int) (*process, error) {
	// Begins a new peak of resident memory.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return nil, err
	}
	p := &process{pid: pid}
	var err error
	p.before, err = p.cpu()
	return p, err
}

// cpu is what all its threads have used, in clock ticks of 10 ms.
func (p *process) cpu() (time.Duration, error) {
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

// peakMB is the most resident memory that it has had.
func (p *process) peakMB() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.Atoi(kb)
	if err != nil {
		return 0, fmt.Errorf("peak memory of process %d: %w", p.pid, err)
	}
	return float64(n) / 1024, nil
}

func perSpan(used time.Duration, spans int) float64 {
	return float64(used.Nanoseconds()) / 1000 / float64(spans)
}
