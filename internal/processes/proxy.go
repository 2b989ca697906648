package processes

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy is a link between one process and what it connects to over TCP. It can be cut as a cable is: connections stay
// open at both ends, nothing passes and nothing says why, and what was sent arrives when the cable is whole again.
type Proxy struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu    sync.Mutex
	whole chan struct{}         // guarded by mu: closed while the link is whole
	delay time.Duration         // guarded by mu: of what the target sends
	conns map[net.Conn]struct{} // guarded by mu
	over  bool                  // guarded by mu
}

// Chunks bound what a link that is slow holds back: a megabyte a connection.
const (
	proxyChunkBytes = 32 << 10
	proxyChunksMax  = 32
)

// NewProxy listens on a free port of this machine and passes everything on to target, host:port.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, whole: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(p.whole)
	p.wait.Go(p.accept)
	return p, nil
}

// Addr is host:port where the link begins.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut stops everything, of connections that there are and of new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.whole) && !p.over {
		p.whole = make(chan struct{})
	}
}

// Mend lets everything pass again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mend()
}

func (p *Proxy) mend() {
	if !isClosed(p.whole) {
		close(p.whole)
	}
}

// SetDelay makes each byte that the target sends from now on arrive later by d.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Close ends the link with all its connections, cut or not. A second Close has no effect.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.over = true
	p.mend()
	err := ignoreClosed(p.listener.Close())
	for c := range p.conns {
		err = errors.Join(err, ignoreClosed(c.Close()))
	}
	p.mu.Unlock()
	p.wait.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // the link is closed
		}
		if p.keep(c) {
			p.wait.Go(func() { p.serve(c) })
		}
	}
}

// keep remembers a connection for Close; the link may be closed already.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		c.Close() // nobody is left to be told
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close() // either end may have closed it before
}

func (p *Proxy) serve(from net.Conn) {
	defer p.drop(from)
	p.pass()
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the caller sees its connection closed, as if the target were gone
	}
	if !p.keep(to) {
		return
	}
	defer p.drop(to)
	var both sync.WaitGroup
	both.Go(func() { p.copy(to, from, false) })
	both.Go(func() { p.copy(from, to, true) })
	both.Wait()
}

// pass waits until the link is whole.
func (p *Proxy) pass() {
	p.mu.Lock()
	whole := p.whole
	p.mu.Unlock()
	<-whole
}

type chunk struct {
	data []byte
	due  time.Time
}

// copy passes on what one end sends, to its end. Both ends are then closed: neither of our protocols goes on in one
// direction only.
func (p *Proxy) copy(to, from net.Conn, answers bool) {
	chunks := make(chan chunk, proxyChunksMax)
	var writer sync.WaitGroup
	writer.Go(func() {
		failed := false
		for c := range chunks {
			if failed {
				continue
			}
			if d := time.Until(c.due); d > 0 {
				<-time.After(d)
			}
			p.pass()
			_, err := to.Write(c.data)
			if failed = err != nil; failed {
				p.drop(from) // which ends the reading
			}
		}
	})
	for {
		data := make([]byte, proxyChunkBytes)
		n, err := from.Read(data)
		if n > 0 {
			chunks <- chunk{data[:n], time.Now().Add(p.delayOf(answers))}
		}
		if err != nil {
			break
		}
	}
	close(chunks)
	writer.Wait()
	p.pass() // an end is not heard through a cut link either
	p.drop(to)
	p.drop(from)
}

func (p *Proxy) delayOf(answers bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !answers {
		return 0
	}
	return p.delay
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var _ io.Closer = (*Proxy)(nil)
