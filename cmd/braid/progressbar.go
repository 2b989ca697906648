package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progressBar is a bar on a terminal; where there is none it shows nothing. It is for one goroutine.
type progressBar struct {
	out   io.Writer // nil: nothing is shown
	total int64     // bytes, 0 if nobody knows
	begun time.Time
	shown time.Time
}

// drawEvery is how often the bar is drawn anew.
const drawEvery = 100 * time.Millisecond

func newProgressBar(stderr io.Writer, total int64) *progressBar {
	p := &progressBar{total: total, begun: time.Now()}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = stderr
	}
	return p
}

// show draws what is done. The last time it draws whatever the time is, and ends the line.
func (p *progressBar) show(bytes, rows int64, last bool) {
	now := time.Now()
	if p.out == nil || !last && now.Sub(p.shown) < drawEvery {
		return
	}
	p.shown = now
	fmt.Fprintf(p.out, "\r%s\x1b[K", p.line(bytes, rows, now.Sub(p.begun)))
	if last {
		fmt.Fprintln(p.out)
	}
}

func (p *progressBar) line(bytes, rows int64, took time.Duration) string {
	const width = 24
	bar := ""
	if p.total > 0 {
		part := min(float64(bytes)/float64(p.total), 1)
		full := int(part * width)
		bar = fmt.Sprintf("%s%s %3.0f %%  ", strings.Repeat("█", full), strings.Repeat("░", width-full), part*100)
	}
	rate := float64(rows) / max(took.Seconds(), 0.001)
	return fmt.Sprintf("%s%d rows  %.1f MB  %.0f rows/s", bar, rows, float64(bytes)/1e6, rate)
}
