// Package faulty wraps an object store and makes it fail the way that real ones do: an error before
// the effect, an error after it (a lost reply), a slow answer, a short body, and a put that lands
// long after its caller gave up.
//
// What happens is a function of the call alone, so that a run can be repeated: decide sees the
// operation, the key and how often this operation has been tried on this key. The wrapper starts no
// goroutine and has no clock of its own; time passes in the Sleep that it is given, and late puts
// land when the test says so. It is for tests and for the simulator.
package faulty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/objstore"
)

// Err is what an injected error is, if the Fault has no other.
var Err = errors.New("injected object store error")

// Op is an operation of a store.
type Op string

// The operations.
const (
	Put  Op = "put"
	Get  Op = "get"
	Stat Op = "stat"
	List Op = "list" // the key is the prefix
)

// Call is what a decision is made on.
type Call struct {
	Op      Op
	Key     string
	Attempt int // of Op on Key, from 1
}

// Kind is what goes wrong with a call.
type Kind int

// The kinds of faults.
const (
	None   Kind = iota
	Before      // an error; nothing has happened
	After       // the effect, then an error
	// Late is an error now and the effect when Land is called. Of another operation than put: Before.
	Late
	// Short ends the body of a get after Fault.Bytes bytes with io.ErrUnexpectedEOF. Of a put: After.
	Short
	// Hang waits for the end of the context, without effect, and then returns its error. The caller
	// must have a context that ends.
	Hang
)

func (k Kind) String() string {
	names := [...]string{"none", "before", "after", "late", "short", "hang"}
	if k >= 0 && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("fault %d", int(k))
}

// Fault is what happens to a call. The zero value is a call that works.
type Fault struct {
	Kind  Kind
	Delay time.Duration // before anything else; the call ends early with its context
	Bytes int64         // of Short; for a list, the objects that come before the error
	Err   error         // nil: Err
}

// Options of a Store; the zero value is fine.
type Options struct {
	// Sleep waits for d or the end of ctx, whose error it returns. nil: a timer of the real clock.
	Sleep func(ctx context.Context, d time.Duration) error
	// Observe is told of every call that has a fault or a delay.
	Observe func(Call, Fault)
}

// Store is an objstore.Store with faults.
type Store struct {
	next    objstore.Store
	decide  func(Call) Fault
	options Options

	mu       sync.Mutex
	attempts map[Call]int // with Attempt 0
	late     []latePut
	healed   bool
}

type latePut struct {
	key  string
	data []byte
	body objstore.Body
}

// New wraps next. decide is called once for each call, one at a time.
func New(next objstore.Store, decide func(Call) Fault, options Options) *Store {
	if options.Sleep == nil {
		options.Sleep = sleep
	}
	return &Store{next: next, decide: decide, options: options, attempts: map[Call]int{}}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Heal ends all faults: from now on calls work. Late puts still wait for Land.
func (s *Store) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healed = true
}

// Waiting is the number of late puts that have not landed.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.late)
}

// Land lets the oldest late put happen, and returns its key and what the store said; "" if there is
// none.
func (s *Store) Land(ctx context.Context) (key string, err error) {
	s.mu.Lock()
	if len(s.late) == 0 {
		s.mu.Unlock()
		return "", nil
	}
	p := s.late[0]
	s.late = s.late[1:]
	s.mu.Unlock()
	p.body.Path, p.body.FS, p.body.Reader = "", nil, bytes.NewReader(p.data)
	return p.key, s.next.Put(ctx, p.key, p.body)
}

// begin decides about a call and sleeps its delay.
func (s *Store) begin(ctx context.Context, op Op, key string) (Fault, error) {
	s.mu.Lock()
	call := Call{Op: op, Key: key}
	s.attempts[call]++
	call.Attempt = s.attempts[call]
	var f Fault
	if !s.healed {
		f = s.decide(call)
	}
	s.mu.Unlock()
	if f.Err == nil {
		f.Err = Err
	}
	f.Err = fmt.Errorf("%s %s, attempt %d: %w", op, key, call.Attempt, f.Err)
	if s.options.Observe != nil && (f.Kind != None || f.Delay > 0) {
		s.options.Observe(call, f)
	}
	if f.Delay > 0 {
		if err := s.options.Sleep(ctx, f.Delay); err != nil {
			return Fault{}, err
		}
	}
	if f.Kind == Hang {
		<-ctx.Done()
		return Fault{}, ctx.Err()
	}
	return f, nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body) error {
	f, err := s.begin(ctx, Put, key)
	if err != nil {
		return err
	}
	switch f.Kind {
	case Before:
		return f.Err
	case Late:
		if err := s.keep(key, body); err != nil {
			return err
		}
		return f.Err
	}
	err = s.next.Put(ctx, key, body)
	if f.Kind != None {
		return f.Err
	}
	return err
}

// keep takes the bytes of a late put now: the caller may do with its file and its buffer what it
// likes afterwards.
func (s *Store) keep(key string, body objstore.Body) error {
	r, err := body.Open()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, latePut{key: key, data: data, body: body})
	return nil
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	f, err := s.begin(ctx, Get, key)
	if err != nil {
		return nil, 0, err
	}
	if f.Kind != None && f.Kind != Short {
		return nil, 0, f.Err
	}
	r, size, err := s.next.Get(ctx, key)
	if err == nil && f.Kind == Short {
		r = &short{r: r, left: f.Bytes}
	}
	return r, size, err
}

// short ends with io.ErrUnexpectedEOF after left bytes.
type short struct {
	r    io.ReadCloser
	left int64
}

func (s *short) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

func (s *short) Close() error { return s.r.Close() }

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	f, err := s.begin(ctx, Stat, key)
	if err != nil {
		return objstore.Info{}, err
	}
	if f.Kind != None {
		return objstore.Info{}, f.Err
	}
	return s.next.Stat(ctx, key)
}

// List implements objstore.Store. A fault other than Before lets Fault.Bytes objects through before
// its error, so that a caller that ignores the error sees a list that looks whole.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		f, err := s.begin(ctx, List, prefix)
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		n := int64(0)
		for info, err := range s.next.List(ctx, prefix) {
			if f.Kind == Before || f.Kind != None && n >= f.Bytes {
				break
			}
			if n++; !yield(info, err) {
				return
			}
		}
		if f.Kind != None {
			yield(objstore.Info{}, f.Err)
		}
	}
}
