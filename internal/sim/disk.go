package sim

import (
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/seed-551dd829/braid/internal/disk"
)

// Disk is one machine's disk, which outlives its processes. A file whose sync has failed is to be given up by the
// process that met it; what it does with the file afterwards counts.
type Disk struct {
	*disk.Memory
	e     *Engine
	chaos *Chaos

	p       *Process
	crashIn int             // operations until the process dies
	failed  map[string]bool // files whose sync has failed
	// AfterFailure counts syncs and renames of a file after a sync of it had failed, in the same process.
	AfterFailure int
}

var errSync = errors.New("injected: sync failed")

// NewDisk returns an empty disk.
func NewDisk(e *Engine, chaos *Chaos) *Disk {
	d := &Disk{Memory: disk.NewMemory(), e: e, chaos: chaos}
	d.Memory.Clock(e.Clock)
	d.Memory.Hook(d.before)
	return d
}

// Attach takes the power away and puts it back, and lends the disk to a new process.
func (d *Disk) Attach(p *Process) disk.FS {
	var how []disk.CrashOption
	if d.p != nil {
		if seed := d.e.Rand.Uint64(); d.chaos.Fire(Torn, 1) {
			how = append(how, disk.Torn(seed))
		}
		d.Memory.Crash(how...)
	}
	d.p, d.crashIn, d.failed = p, math.MaxInt, make(map[string]bool)
	return slowDisk{d.Memory, d}
}

// CrashIn has the process die in front of its n-th next disk operation that changes something.
func (d *Disk) CrashIn(n int) { d.crashIn = n }

// before is called in front of every operation, with the disk's lock held: it must not park.
func (d *Disk) before(op disk.Op) error {
	d.p.Living()
	switch op.Kind {
	case disk.OpOpen, disk.OpRead, disk.OpReadDir, disk.OpStat, disk.OpLock:
		return nil
	}
	if d.crashIn--; d.crashIn < 0 {
		d.e.Trace(d.p.Name, "dies before %s", op.Kind)
		d.chaos.Fired[CrashDisk]++
		d.p.End()
		return syscall.EIO // of an operation outside of any coroutine
	}
	if op.Kind == disk.OpCreate { // another file under that name
		delete(d.failed, op.Path)
	}
	if d.failed[op.Path] && (op.Kind == disk.OpSync || op.Kind == disk.OpRename) {
		d.AfterFailure++
	}
	switch {
	case op.Kind == disk.OpSync && d.chaos.Fire(SyncFails, 0.05):
		d.e.Trace(d.p.Name, "sync fails")
		d.failed[op.Path] = true
		return errSync
	case op.Kind == disk.OpWrite && d.chaos.Fire(DiskFull, 0.01):
		d.e.Trace(d.p.Name, "disk is full")
		return syscall.ENOSPC
	}
	return nil
}

// slowDisk takes time to sync a file.
type slowDisk struct {
	*disk.Memory
	d *Disk
}

func (s slowDisk) Create(path string) (disk.File, error) {
	f, err := s.Memory.Create(path)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.d}, nil
}

// Open is for reading, whose end takes no part in anything: see reader.
func (s slowDisk) Open(path string) (disk.File, error) {
	f, err := s.Memory.Open(path)
	if err != nil {
		return nil, err
	}
	return reader{f, s.d.p}, nil
}

// reader is a file that a coroutine may have open while it parks. When its process dies in the midst of a disk
// operation, whose lock is held then, it unwinds and closes the file: that must not wait for the lock.
type reader struct {
	disk.File
	p *Process
}

func (r reader) Close() error {
	if r.p.Dead() {
		return nil
	}
	return r.File.Close()
}

type slowFile struct {
	disk.File
	d *Disk
}

func (f slowFile) Sync() error {
	if f.d.e.task != nil {
		took := f.d.e.Between(100*time.Microsecond, 2*time.Millisecond)
		if f.d.chaos.Fire(SlowDisk, 0.2) {
			took = f.d.e.Between(20*time.Millisecond, 2*time.Second)
		}
		f.d.p.Sleep(took)
	}
	return f.File.Sync()
}
