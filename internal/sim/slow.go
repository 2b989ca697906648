package sim

import (
	"time"

	"github.com/seed-551dd829/braid/internal/disk"
)

// SlowAppends returns a process's files with syncs that take time where a file grows, so that others run meanwhile.
func SlowAppends(fs disk.FS, p *Process) disk.FS { return slowAppends{fs, p} }

type slowAppends struct {
	disk.FS
	p *Process
}

func (s slowAppends) OpenAppend(path string) (disk.File, error) {
	f, err := s.FS.OpenAppend(path)
	if err != nil {
		return nil, err
	}
	return slowAppend{f, s.p}, nil
}

type slowAppend struct {
	disk.File
	p *Process
}

func (f slowAppend) Sync() error {
	f.p.Sleep(f.p.e.Between(100*time.Microsecond, 3*time.Millisecond))
	return f.File.Sync()
}
