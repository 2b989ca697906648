package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// chaos is a world in which things happen at random, from a seed.
type chaos struct {
	*script
	r       *rand.Rand
	restart map[string]time.Duration // when a node's next process registers, or goes live
}

func newChaos(seed uint64, instances int) *chaos {
	apart := func(instance int) time.Duration { return time.Duration(instance) * 3 * time.Hour }
	c := &chaos{script: &script{world: &world{nodes: make(map[string]*node)}, ahead: apart},
		r: rand.New(rand.NewPCG(seed, 1)), restart: map[string]time.Duration{}}
	for i := range instances {
		c.start(fmt.Sprintf("f%d", i+1))
	}
	for i, id := range []string{"p1", "p2", "r1", "r2"} {
		role := api.Primary
		if id[0] == 'r' {
			role = api.Replica
		}
		epoch := uint64(i + 1)
		c.registry.Nodes = append(c.registry.Nodes, api.Node{ID: id, Role: role, State: api.Live, Epoch: epoch})
		c.nodes[id] = &node{beats: true, answers: "yes", state: api.Live, epoch: epoch}
	}
	c.registry.Version = 1
	return c
}

// instanceFault is something that befalls the failover instances, or what is between them and the rest.
func (c *chaos) instanceFault() {
	i := c.instances[c.r.IntN(len(c.instances))]
	switch c.r.IntN(10) {
	case 0:
		i.paused = true
	case 1, 2:
		c.wake(i)
	case 3:
		i.link = -1
	case 4:
		i.cutOff = true
	case 5, 6:
		if i.cutOff = false; i.link < 0 {
			i.link = int(c.now)
		}
	case 7:
		c.away = !c.away
	case 8:
		c.deaf = !c.deaf
	}
}

// nodeFault is something that befalls a node.
func (c *chaos) nodeFault() {
	id := c.ids()[c.r.IntN(len(c.nodes))]
	n := c.nodes[id]
	switch c.r.IntN(4) {
	case 0: // killed; it will start again
		n.beats, n.answers = false, "nobody"
		c.restart[id] = c.now + time.Duration(c.r.IntN(6000))*time.Millisecond
	case 1: // paused
		n.beats, n.answers = false, "nothing"
	case 2:
		if n.answers == "nothing" {
			n.beats, n.answers = true, "yes"
		}
	}
}

// follow is what nodes do by themselves: start again, register anew when they learn that they were declared dead, and
// go live.
func (c *chaos) follow() {
	for _, id := range c.ids() {
		n, m := c.nodes[id], c.member(id)
		due := c.now >= c.restart[id]
		switch {
		case n.answers == "nobody" && due, n.beats && (n.epoch < m.Epoch || m.State == api.Dead):
			c.registers(id)
			c.restart[id] = c.now + time.Duration(c.r.IntN(2000))*time.Millisecond
		case n.beats && m.State == api.Recovering && due:
			c.says(id, api.Live)
		}
	}
}

// heal ends all faults.
func (c *chaos) heal() {
	c.away, c.deaf = false, false
	for _, i := range c.instances {
		if i.cutOff = false; i.link < 0 {
			i.link = int(c.now)
		}
		c.wake(i)
	}
	for _, n := range c.nodes {
		if n.answers == "nothing" {
			n.beats, n.answers = true, "yes"
		}
	}
}

func (c *chaos) pass(d time.Duration) {
	for end := c.now + d; c.now < end; {
		c.run(50 * time.Millisecond)
		c.follow()
	}
}

// settled says what is not as it was before the faults.
func (c *chaos) settled() error {
	for _, n := range c.registry.Nodes {
		role := api.Primary
		if n.ID[0] == 'r' {
			role = api.Replica
		}
		if n.State != api.Live || n.Role != role || n.StandsInFor != "" {
			return fmt.Errorf("%+v", n)
		}
	}
	return nil
}

const seeds = 200

// TestAnInstancesFaultsKillNobody: whatever befalls the failover instances and their connections, no node that beats
// and answers is declared dead.
func TestAnInstancesFaultsKillNobody(t *testing.T) {
	for seed := range uint64(seeds) {
		c := newChaos(seed, 1+int(seed%2))
		for range 60 {
			c.instanceFault()
			c.pass(time.Duration(c.r.IntN(3000)) * time.Millisecond)
			if err := c.settled(); err != nil {
				t.Fatalf("seed %d: at %s: %v\n%s", seed, c.now, err, c.out.String())
			}
		}
	}
}

// TestConvergesAfterFaults: after faults stop every node is what it was, and failover still works: a primary that dies
// then has a stand-in in time, and has its place back when it has returned.
func TestConvergesAfterFaults(t *testing.T) {
	for seed := range uint64(seeds) {
		c := newChaos(seed, 2)
		for range 60 {
			c.instanceFault()
			c.nodeFault()
			c.pass(time.Duration(c.r.IntN(1000)) * time.Millisecond)
		}
		c.heal()
		c.pass(20 * time.Second)
		if err := c.settled(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, c.out.String())
		}
		n := c.nodes["p1"]
		n.beats, n.answers = false, "nobody"
		c.restart["p1"] = c.now + 5*time.Second
		c.pass(2 * time.Second)
		if p1 := c.member("p1"); p1.State != api.Dead || c.member("r1").StandsInFor != "p1" {
			t.Fatalf("seed %d: %+v\n%s", seed, c.registry, c.out.String())
		}
		c.pass(6 * time.Second)
		if err := c.settled(); err != nil {
			t.Fatalf("seed %d: p1 is back: %v\n%s", seed, err, c.out.String())
		}
		for id, away := range map[string]time.Duration{"r1": 20, "r2": 30, "p1": 60} { // seconds
			c.nodes[id].beats, c.nodes[id].answers = false, "nobody"
			c.restart[id] = c.now + away*time.Second
		}
		c.pass(25 * time.Second)
		if c.member("r1").StandsInFor != "p1" {
			t.Fatalf("seed %d: nobody stands in for p1: %+v\n%s", seed, c.registry, c.out.String())
		}
		c.pass(40 * time.Second)
		if err := c.settled(); err != nil {
			t.Fatalf("seed %d: at the end: %v\n%s", seed, err, c.out.String())
		}
	}
}
