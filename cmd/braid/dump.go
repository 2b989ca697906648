package main

import (
	"fmt"
	"os"

	"github.com/seed-551dd829/braid/internal/segment"
)

type dumpCmd struct {
	File string `arg:"" help:"A segment file, *.seg." type:"existingfile"`
}

// Run prints what a segment file holds, as far as it is whole.
func (c *dumpCmd) Run(p *process) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := segment.Dump(p.stdout, f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}
