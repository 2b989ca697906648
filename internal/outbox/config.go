package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// Config is what an application may set. The zero value of each field but Dir stands for its default.
type Config struct {
	Dir string // the folder, of this process alone
	// Producer is the id that a new folder gets; a random one if "". A folder keeps the id that it has, and refuses to be
	// opened under another. Two folders of one id fence each other.
	Producer string
	// BytesMax bounds the folder, 1 GB. Too small, and a short outage of the cluster makes the application wait.
	BytesMax int64
	// FileBytesMax is when the next file is begun, 8 MB, at most a quarter of BytesMax. Too small, and files come and go
	// all the time; too large, and little frees its room late.
	FileBytesMax int64
	// WritesMax bounds the writes without an answer, 1,000,000: each takes about 50 bytes of memory.
	WritesMax int
	// PendingBytesMax bounds what waits in memory for the disk, 16 MB.
	PendingBytesMax int64
	// BatchWrites and BatchBytes bound what is sent of a table at once: 1,000 writes, 1 MB.
	BatchWrites int
	BatchBytes  int64
	// Tables is how many are delivered beside each other, 8.
	Tables int
	// Pause is between attempts at what has failed: registering, reporting, writing to a full disk. 500 ms.
	Pause time.Duration
}

func (c *Config) setDefaults() {
	set(&c.BytesMax, 1<<30)
	set(&c.FileBytesMax, min(8<<20, max(c.BytesMax/4, 1)))
	set(&c.WritesMax, 1_000_000)
	set(&c.PendingBytesMax, 16<<20)
	set(&c.BatchWrites, api.GroupWritesMax)
	set(&c.BatchBytes, 1<<20)
	set(&c.Tables, 8)
	set(&c.Pause, 500*time.Millisecond)
}

func set[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("outbox: no folder is given")
	case c.BytesMax < 0 || c.FileBytesMax < 0 || c.FileBytesMax > c.BytesMax/4+1 || c.WritesMax < 0 ||
		c.PendingBytesMax < 0 || c.BatchBytes < 0 || c.Tables < 0 || c.Pause < 0:
		return fmt.Errorf("outbox %s: limits below 0, or a file of more than a quarter of the folder's %d bytes",
			c.Dir, c.BytesMax)
	case c.BatchWrites < 0 || c.BatchWrites > api.GroupWritesMax:
		return fmt.Errorf("outbox %s: a batch has at most %d writes", c.Dir, api.GroupWritesMax)
	}
	return nil
}

// Deps is what the process hands over. All are needed, but Report and Ended.
type Deps struct {
	FS     disk.FS
	Logger *slog.Logger
	// Register and Renew are one attempt each, bounded in time.
	Register func(context.Context, api.RegisterProducerRequest) (api.RegisterProducerAnswer, error)
	Renew    func(context.Context, api.RenewProducerRequest) error
	Carrier  Carrier
	// Report gives the application a write back that cannot be delivered. It is called for one write at a time; after
	// an error it is called again for the same. nil keeps such writes.
	Report func(context.Context, Undelivered) error
	// Ended is told of every outcome that is on the disk, for counting: also those of earlier processes' writes. It must
	// not block. Before it is called, the write's Watcher may have been.
	Ended func(Outcome)
	NewID func() string // never twice the same
	Host
}

// Host is what a Box runs on.
type Host struct {
	Now func() time.Time
	// Await waits until changed is closed, a moment comes, or ctx ends.
	Await func(ctx context.Context, changed <-chan struct{}, until time.Time)
	// Go runs a function beside what runs now. It may block in Deps and nowhere else.
	Go func(func(ctx context.Context))
}

// Carrier brings writes to the cluster.
type Carrier interface {
	// Prepare makes of writes of one table, which are in order and of one durability, what can be sent at once. It
	// waits for the cluster as long as ctx lets it; its only error is that ctx has ended.
	Prepare(ctx context.Context, table string, writes []*Write) (Load, error)
}

// Load is what a Carrier has prepared.
type Load struct {
	// Taken is how many of the writes, from the first on, are in the load or refused; 1 at least.
	Taken int
	// Refused are those that can never be sent, by their index. They have not been.
	Refused map[int]Refusal
	// Send sends the others, again and again, until each has a definite outcome. ids are theirs, in order, and so are
	// the outcomes. Errors: a wire error of name Expired or Fenced, and that ctx has ended.
	Send func(ctx context.Context, ids []api.ProducerSeq) ([]Outcome, error)
}

// Outcome is what became of a write: the transaction TxID, or a refusal.
type Outcome struct {
	TxID    uint64
	Rows    int
	Refusal *Refusal // nil: accepted
}

// Undelivered is a write that the application gets back.
type Undelivered struct {
	Write   *Write
	Refusal Refusal
}

func (d *Deps) check() error {
	if d.FS == nil || d.Logger == nil || d.Register == nil || d.Renew == nil || d.Carrier == nil || d.NewID == nil ||
		d.Now == nil || d.Await == nil || d.Go == nil {
		return errors.New("outbox: a dependency is not given")
	}
	return nil
}
