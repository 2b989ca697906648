package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

// clearScreen moves the cursor home and erases what is below it.
const clearScreen = "\x1b[H\x1b[2J"

// watch shows the status again and again, until a signal ends it. While the cluster does not answer it says so, and goes
// on.
func (c *statusCmd) watch(p *process, nc *nats.Conn) error {
	for p.ctx.Err() == nil {
		var page bytes.Buffer
		status, err := c.collect(p.ctx, nc)
		if err == nil {
			err = c.show(&process{ctx: p.ctx, log: p.log, stdout: &page, stderr: p.stderr}, status)
		}
		switch {
		case p.ctx.Err() != nil:
			return nil
		case err != nil && c.JSON:
			p.log.Warn("no status", "error", err)
		case err != nil:
			fmt.Fprintf(&page, "no status: %v\n", err)
		}
		if err := c.draw(p.stdout, page.Bytes()); err != nil {
			return err
		}
		if err != nil { // which may have come at once
			pause(p.ctx, c.Listen)
		}
	}
	return nil
}

// draw replaces what a terminal shows, and is a further page of a file or a pipe.
func (c *statusCmd) draw(w io.Writer, page []byte) error {
	if f, ok := w.(*os.File); ok && !c.JSON {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			page = append([]byte(clearScreen), page...)
		} else {
			page = append(page, '\n')
		}
	}
	_, err := w.Write(page)
	return err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
