//go:build unix

// Package faults runs a cluster of separate processes over TCP, hurts them by a plan that a seed gives, and judges
// what writers were told against what every node holds in the end.
//
// The plan is pure: the same seed and size give the same one. What the machine makes of it is not: two runs of a plan
// differ in which write meets which fault. A failed run therefore prints its plan and keeps every process's log.
package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what happens to a process.
type Kind string

const (
	// Kill is SIGKILL, and a start after For.
	Kill Kind = "kill -9"
	// KillAgain is Kill, and once more after Again, while the process may still recover.
	KillAgain Kind = "kill -9 twice"
	// Stop is SIGTERM, and a start after For.
	Stop Kind = "SIGTERM"
	// Pause is SIGSTOP, and SIGCONT after For.
	Pause Kind = "SIGSTOP"
	// Double pauses a node and starts it a second time on the same data folder, which must be refused.
	Double Kind = "second process on the folder of a paused"
	// Move pauses a primary, starts a copy of its folder under its id, as when a machine's image is started elsewhere,
	// and wakes the first, which must find itself fenced and end.
	Move Kind = "copy elsewhere and wake the paused"
	// Cut takes away a service's link to NATS, as when a cable is pulled: connections stay open and silent.
	Cut Kind = "cut off from NATS"
	// CutStore does that to a node's link to the object store, and to nothing else.
	CutStore Kind = "cut off from the object store"
	// Deny takes from a node the right to speak to the sequencer. Its heartbeats go on, and others reach it.
	Deny Kind = "denied the sequencer"
	// Drain is `braid drain` of a node, and a start after For.
	Drain Kind = "braid drain"
	// Fill leaves no byte free on a node's disk until it has stopped, and frees it after For.
	Fill Kind = "full disk"
)

// Hit is one fault of one process.
type Hit struct {
	Kind   Kind
	Target string
	For    time.Duration
	Again  time.Duration // KillAgain
}

func (h Hit) String() string {
	s := fmt.Sprintf("%s %s for %s", h.Kind, h.Target, h.For)
	if h.Kind == KillAgain {
		s += fmt.Sprintf(", again after %s", h.Again)
	}
	return s
}

// Step is what happens at one moment, to different processes.
type Step struct {
	Wait time.Duration // since the step before it ended; its processes may still recover
	Hits []Hit
}

// Plan is a scenario.
type Plan struct {
	Seed  uint64
	Size  int // steps
	NATS  int // servers
	Nodes []string
	Gates []string // gateways
	// Failovers are the failover services. One of them holds the lease.
	Failovers []string
	// Durability is the gateways': object or wal.
	Durability string
	// SmallDisk is the node whose data folder is a small file system of its own, "" for none.
	SmallDisk string
	// S3 keeps segments in an S3 server, which is a process like the others; else they are in a folder.
	S3      bool
	Tables  []string
	Attempt time.Duration // the SDK's patience with one attempt
	Steps   []Step
	// Takes is about how long the faults of a Script take, which then are the plan's instead of Steps.
	Takes time.Duration
}

// Processes are all targets, in the order in which they start first.
func (p *Plan) Processes() []string {
	var all []string
	for i := range p.NATS {
		all = append(all, fmt.Sprintf("nats%d", i+1))
	}
	if p.S3 {
		all = append(all, "s3")
	}
	all = append(all, "sequencer")
	return slices.Concat(all, p.Failovers, p.Nodes, p.Gates)
}

func (p *Plan) primaries() []string { return withPrefix(p.Nodes, "p") }
func (p *Plan) replicas() []string  { return withPrefix(p.Nodes, "r") }

func withPrefix(ids []string, prefix string) (with []string) {
	for _, id := range ids {
		if strings.HasPrefix(id, prefix) {
			with = append(with, id)
		}
	}
	return with
}

// duration is how long the steps take, if no process keeps a hit waiting.
func (p *Plan) duration() (d time.Duration) {
	d = p.Takes
	for _, s := range p.Steps {
		d += s.Wait
		var longest time.Duration
		for _, h := range s.Hits {
			longest = max(longest, h.For+h.Again)
		}
		d += longest
	}
	return d
}

// Kinds lists the kinds of fault that the plan has.
func (p *Plan) Kinds() map[Kind]int {
	kinds := make(map[Kind]int)
	for _, s := range p.Steps {
		for _, h := range s.Hits {
			kinds[h.Kind]++
		}
	}
	return kinds
}

// String tells the plan as a story.
func (p *Plan) String() string {
	var b strings.Builder
	store := "a folder"
	if p.S3 {
		store = "an S3 server"
	}
	fmt.Fprintf(&b, "seed %d, %d steps: %s; durability %s, segments in %s; tables %s; an attempt lasts %s", p.Seed,
		p.Size, strings.Join(p.Processes(), " "), p.Durability, store, strings.Join(p.Tables, " "), p.Attempt)
	if p.SmallDisk != "" {
		fmt.Fprintf(&b, "; %s has a small disk", p.SmallDisk)
	}
	b.WriteByte('\n')
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "  %2d. after %s:", i+1, s.Wait)
		for j, h := range s.Hits {
			if j > 0 {
				b.WriteByte(';')
			}
			b.WriteByte(' ')
			b.WriteString(h.String())
		}
		b.WriteByte('\n')
	}
	return b.String()
}
