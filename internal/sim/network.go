package sim

import "time"

// Network carries messages between processes.
type Network struct {
	e     *Engine
	chaos *Chaos
	cuts  map[[2]string]time.Duration // from and to: nothing arrives until then
}

// NewNetwork returns a network with the faults of chaos.
func NewNetwork(e *Engine, chaos *Chaos) *Network {
	return &Network{e: e, chaos: chaos, cuts: make(map[[2]string]time.Duration)}
}

// Cut lets nothing pass from one machine to another for d.
func (n *Network) Cut(from, to string, d time.Duration) { n.cuts[[2]string{from, to}] = n.e.now + d }

// Heal ends all partitions.
func (n *Network) Heal() { clear(n.cuts) }

func (n *Network) cut(from, to string) bool { return n.e.now < n.cuts[[2]string{from, to}] }

// Send has deliver called in the process to, once, twice or never. The message may be a lot later than its sender
// waits. A process that is dead when it arrives does not get it.
func (n *Network) Send(from, to *Process, what string, deliver func()) {
	from.Living()
	copies := 1
	switch {
	case from.Dead() || n.cut(from.Name, to.Name) || n.chaos.Fire(Lose, 0.1):
		n.e.Trace(from.Name, "%s to %s is lost", what, to.Name)
		return
	case n.chaos.Fire(Double, 0.2):
		copies = 2
	}
	for range copies {
		d := n.e.Between(50*time.Microsecond, 500*time.Microsecond)
		if n.chaos.Fire(Reorder, 0.3) {
			d += n.e.Between(0, 20*time.Millisecond)
		}
		if n.chaos.Fire(Delay, 0.1) {
			d += n.e.Between(100*time.Millisecond, 3*time.Second)
		}
		n.e.After(d, func() {
			if to.Dead() || n.cut(from.Name, to.Name) {
				n.e.Trace(to.Name, "%s from %s does not arrive", what, from.Name)
				return
			}
			to.run(func() {
				n.e.Trace(to.Name, "%s from %s", what, from.Name)
				deliver()
			})
		})
	}
}
