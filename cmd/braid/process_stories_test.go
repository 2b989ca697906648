//go:build unix

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/faults"
	procs "github.com/seed-551dd829/braid/internal/processes"
)

var storiesAsked = flag.String("faults.stories", "cut off from NATS,zombie",
	"stories of failover to play, by words of their names; all for all of them")

// story is a failover that somebody thought of: what happens to a cluster of p1, p2, r1 and r2, while clients write in
// every way there is. Whatever happens, all invariants hold, and every node is what it was in the end.
type story struct {
	name   string
	takes  time.Duration // about
	script faults.Script
}

var stories = []story{
	{"a primary is cut off from NATS", 8 * time.Second, primaryCutOff},
	{"a host vanishes with its primary", 8 * time.Second, hostVanishes},
	{"a replica is cut off from NATS", 8 * time.Second, replicaCutOff},
	{"a zombie wakes, and the other primary is one", 12 * time.Second, zombies},
	{"a primary returns during the promotion", 20 * time.Second, returnsDuringPromotion},
	{"a primary dies again while it catches up", 12 * time.Second, diesWhileCatchingUp},
	{"a primary returns after a second failover", 12 * time.Second, returnsAfterSecondFailover},
	{"two processes of one id", 10 * time.Second, twoProcessesOfOneID},
	{"a primary returns with an empty disk", 8 * time.Second, returnsWithAnEmptyDisk},
}

// TestI1toI6_Stories plays them on separate processes, at both durabilities. `make faults` plays all.
func TestI1toI6_Stories(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the stories with real processes are long; run without -short")
	}
	for i, s := range stories {
		asked := func(words string) bool { return words == "all" || strings.Contains(s.name, strings.TrimSpace(words)) }
		if !slices.ContainsFunc(strings.Split(*storiesAsked, ","), asked) {
			continue
		}
		for _, durability := range []string{"object", "wal"} {
			t.Run(s.name+", "+durability, func(t *testing.T) {
				t.Parallel()
				plan := &faults.Plan{Seed: uint64(i), NATS: 1, Nodes: []string{"p1", "p2", "r1", "r2"},
					Gates: []string{"g1", "g2"}, Failovers: []string{"f1", "f2"}, Durability: durability,
					Tables: []string{"t0", "t1", "t2"}, Attempt: 5 * time.Second, Takes: s.takes}
				playStory(t, plan, s.script)
			})
		}
	}
}

func playStory(t *testing.T, plan *faults.Plan, script faults.Script) {
	dir, err := os.MkdirTemp("", "braid-story-")
	if err != nil {
		t.Fatal(err)
	}
	report, err := faults.Play(t.Context(), plan, faults.Options{Dir: dir, Patience: faultPatience, Braid: tiedCommand},
		script)
	if err != nil {
		t.Fatalf("%v\nlogs and story: %s", err, dir)
	}
	t.Log(report)
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// primaryCutOff: its connections to NATS are open and silent, and nothing else of it is. It notices and says so where it
// can still be heard; it is declared dead and replaced, and writers go on; when the link is whole, the same process comes
// back by itself.
func primaryCutOff(ctx context.Context, s *faults.Scenario) error {
	before, err := s.Registered(ctx, "p1")
	if err != nil {
		return err
	}
	life := s.Process("p1").Current()
	s.Cut("p1")
	defer s.Mend("p1")
	if _, err := s.Dead(ctx, "p1"); err != nil {
		return err
	}
	if err := s.Writes(ctx, 100); err != nil {
		return err
	}
	if err := awaitUnready(ctx, before.HTTP, "its connection to NATS is cut"); err != nil {
		return err
	}
	s.Mend("p1")
	if err := s.Back(ctx, "p1"); err != nil {
		return err
	}
	after, err := s.Registered(ctx, "p1")
	if err == nil && (after.Epoch <= before.Epoch || s.Process("p1").Current() != life) {
		err = fmt.Errorf("p1 was %+v, and is %+v, in life %d", before, after, s.Process("p1").Lives())
	}
	return err
}

// awaitUnready waits until a service says by HTTP that it cannot serve, and why.
func awaitUnready(ctx context.Context, at, why string) error {
	return procs.Poll(ctx, faultPatience, func() error {
		bound, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(bound, http.MethodGet, "http://"+at+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(body, []byte(why)) {
			return fmt.Errorf("/readyz says %s %q, %w", answer.Status, body, err)
		}
		return nil
	})
}

// hostVanishes: its connections stay open, though nobody is there any more, and NATS does not say so.
func hostVanishes(ctx context.Context, s *faults.Scenario) error {
	s.Cut("p1")
	defer s.Mend("p1")
	s.Process("p1").Kill()
	defer s.Process("p1").Start()
	if _, err := s.Dead(ctx, "p1"); err != nil {
		return err
	}
	return s.Writes(ctx, 100)
}

// replicaCutOff: nobody stands in for a replica, and nobody waits for it. It returns by itself, with everything.
func replicaCutOff(ctx context.Context, s *faults.Scenario) error {
	s.Cut("r1")
	defer s.Mend("r1")
	if by, err := s.Dead(ctx, "r1"); err != nil || by != "" {
		return fmt.Errorf("%q stands in for a replica, %w", by, err)
	}
	if err := s.Writes(ctx, 100); err != nil {
		return err
	}
	s.Mend("r1")
	return s.Back(ctx, "r1")
}

// zombies are processes that were stopped for longer than the timeout, and go on as if nothing had happened.
func zombies(ctx context.Context, s *faults.Scenario) error {
	for _, id := range []string{"p1", "p2", "p1"} {
		if err := zombie(ctx, s, id); err != nil {
			return err
		}
	}
	return nil
}

func zombie(ctx context.Context, s *faults.Scenario, id string) error {
	life := s.Process(id).Pause()
	defer s.Process(id).Resume(life) // a second time where all went well; harmless
	if _, err := s.Dead(ctx, id); err != nil {
		return err
	}
	if err := s.Writes(ctx, 100); err != nil {
		return err
	}
	s.Process(id).Resume(life)
	if err := s.Back(ctx, id); err != nil {
		return err
	}
	if s.Process(id).Current() != life {
		return fmt.Errorf("the process of %s that was paused is not the one that is back", id)
	}
	return nil
}

// returnsDuringPromotion: a primary goes on, or its next process starts, at about the moment at which it is declared
// dead. Whichever is first, it is a primary in the end, and nobody stands in for it.
func returnsDuringPromotion(ctx context.Context, s *faults.Scenario) error {
	for _, after := range []time.Duration{1300, 1400, 1450, 1500, 1550, 1600} {
		life := s.Process("p1").Pause()
		wait(ctx, after*time.Millisecond)
		s.Process("p1").Resume(life)
		if err := s.Back(ctx, "p1"); err != nil {
			return err
		}
	}
	for _, after := range []time.Duration{1000, 1200, 1300, 1400, 1500} { // a start takes some time
		s.Process("p2").Kill()
		wait(ctx, after*time.Millisecond)
		s.Process("p2").Start()
		if err := s.AwaitReady(ctx, "p2"); err != nil {
			return err
		}
		if err := s.Back(ctx, "p2"); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// diesWhileCatchingUp: as soon as its next process has registered. Its stand-in stays.
func diesWhileCatchingUp(ctx context.Context, s *faults.Scenario) error {
	p1 := s.Process("p1")
	p1.Kill()
	for range 3 {
		if _, err := s.Dead(ctx, "p1"); err != nil {
			return err
		}
		dead, err := s.Registered(ctx, "p1")
		if err != nil {
			return err
		}
		p1.Start()
		err = s.Await(ctx, "p1 has registered", func(nodes map[string]client.Node) error {
			if n := nodes["p1"]; n.Epoch <= dead.Epoch {
				return fmt.Errorf("p1 has epoch %d", n.Epoch)
			}
			return nil
		})
		if err != nil {
			return err
		}
		p1.Kill()
	}
	_, err := s.Dead(ctx, "p1")
	p1.Start()
	if err != nil {
		return err
	}
	return s.Back(ctx, "p1")
}

// returnsAfterSecondFailover: its stand-in dies, too, and another takes that place.
func returnsAfterSecondFailover(ctx context.Context, s *faults.Scenario) error {
	s.Process("p1").Kill()
	first, err := s.Dead(ctx, "p1")
	if err != nil {
		return err
	}
	s.Process(first).Kill()
	err = s.Await(ctx, "another stands in for p1", func(nodes map[string]client.Node) error {
		if nodes[first].State != "dead" {
			return fmt.Errorf("%s is %s", first, nodes[first].State)
		}
		for _, n := range nodes {
			if n.StandsInFor == "p1" && n.ID != first {
				return nil
			}
		}
		return fmt.Errorf("nobody stands in for p1: %v", nodes)
	})
	if err == nil {
		err = s.Writes(ctx, 100)
	}
	s.Process("p1").Start()
	if err == nil {
		err = s.Back(ctx, "p1")
	}
	s.Process(first).Start()
	return err
}

// twoProcessesOfOneID: on one folder the second is refused; on two, as when a machine's image is started elsewhere, the
// newer epoch stays, and the older process ends and says why.
func twoProcessesOfOneID(ctx context.Context, s *faults.Scenario) error {
	p1 := s.Process("p1")
	out, err := s.RunToEnd(s.Node("p1", s.Folder("p1")))
	if err == nil || !strings.Contains(out, "is another braid process using it?") {
		return fmt.Errorf("a second process on the folder was not refused: %w: %s", err, out)
	}
	copied := s.Folder("p1") + "-copy"
	paused := p1.Pause() // so that the copy is of one moment
	err = procs.Poll(ctx, faultPatience, paused.Stopped)
	if err == nil {
		err = os.CopyFS(copied, os.DirFS(s.Folder("p1")))
	}
	p1.Resume(paused)
	if err != nil {
		return err
	}
	old := p1.Release()
	defer p1.Signal(old, syscall.SIGKILL) // in vain if it has ended, as it should have
	s.SetFolder("p1", copied)
	p1.Start()
	select {
	case <-old.Done():
	case <-time.After(faultPatience):
		return fmt.Errorf("the older process lives on %s after another took its epoch", faultPatience)
	}
	last, err := old.LastWords()
	if err == nil && (old.Err() == nil || !strings.Contains(last, "has taken over")) {
		err = fmt.Errorf("the older process ended with %w and %q, not because another has taken over", old.Err(), last)
	}
	if err != nil {
		return err
	}
	return s.Back(ctx, "p1")
}

// returnsWithAnEmptyDisk: under its old id it is refused, with the hint to take a new one; on its own disk it returns.
func returnsWithAnEmptyDisk(ctx context.Context, s *faults.Scenario) error {
	s.Process("p1").Kill()
	defer s.Process("p1").Start()
	if _, err := s.Dead(ctx, "p1"); err != nil {
		return err
	}
	out, err := s.RunToEnd(s.Node("p1", s.Folder("p1")+"-empty"))
	if err == nil || !strings.Contains(out, "give it another id") {
		return fmt.Errorf("p1 with an empty disk was not refused with a hint: %w: %s", err, out)
	}
	n, err := s.Registered(ctx, "p1")
	if err == nil && n.State != "dead" {
		err = fmt.Errorf("the refused process has made p1 %s", n.State)
	}
	return err
}
