package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/client"
)

type writeCmd struct {
	natsFlags
	Files     []string      `arg:"" optional:"" help:"Files to write, in their order; - is stdin, which is what is read if none is given."`
	Table     string        `help:"Table of the rows. Line protocol names its tables itself."`
	Format    string        `help:"auto (by the file's ending, else line protocol), ilp, ndjson or csv (with a header)." default:"auto" enum:"auto,ilp,ndjson,csv"`
	Symbols   []string      `help:"CSV: columns that become tags; others become what their values are." placeholder:"COLUMN"`
	Timestamp string        `help:"CSV: the column of the rows' time. Without such a column rows have the time of this machine." default:"timestamp" placeholder:"COLUMN"`
	Unit      string        `help:"CSV: unit of that column: ns, us, ms, s, or rfc3339." default:"ns" enum:"ns,us,ms,s,rfc3339"`
	Rows      int           `help:"Most rows in a write, which is a transaction." default:"10000"`
	Bytes     int           `help:"Bytes of a file behind which a write ends." default:"1048576"`
	Timeout   time.Duration `help:"How long to go on sending a write that gets no answer." default:"5m"`
	JSON      bool          `help:"Print what was written as JSON." name:"json"`
}

// Help says what --help says below the flags.
func (*writeCmd) Help() string {
	return `Writes files of rows. Each write gets its answer before the next is sent, so rows keep their order; one that gets no
answer is sent again under the same identity, so that it is stored once, through failovers. Running the command again is
new writes. It ends with status 0 only if every row has its answer. At the first row that is refused it ends, and says
where: what was before that line is stored.

  braid write cpu.lp
  zcat cpu.csv.gz | braid write --table cpu --format csv --symbols host,dc --timestamp time --unit ms
  braid rows cpu | braid write --table copy --format ndjson`
}

// written is what --json prints.
type written struct {
	Rows   int64 `json:"rows"`
	Writes int   `json:"writes"`
}

// Run writes the files.
func (c *writeCmd) Run(p *process) (err error) {
	if c.Rows < 1 || c.Bytes < 1 {
		return errors.New("--rows and --bytes must be 1 at least")
	}
	if len(c.Files) == 0 {
		c.Files = []string{"-"}
	}
	total, err := c.size()
	if err != nil {
		return err
	}
	cl, err := c.client(p.ctx, p)
	if err != nil {
		return err
	}
	defer closing(cl, &err)
	w := &fileWriter{cmd: c, client: cl, bar: newProgressBar(p.stderr, total)}
	for _, file := range c.Files {
		if err = w.file(p.ctx, file); err != nil {
			break
		}
	}
	w.bar.show(w.bytes, w.done.Rows, true)
	if c.JSON {
		printJSON(p, w.done)
	} else {
		fmt.Fprintf(p.stdout, "%s in %s\n", counted(w.done.Rows, "row"), counted(w.done.Writes, "write"))
	}
	return err
}

// size is what all files have together, 0 if one does not tell.
func (c *writeCmd) size() (total int64, err error) {
	known := true
	for _, file := range c.Files {
		if file == "-" {
			known = false
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		known = known && info.Mode().IsRegular()
		total += info.Size()
	}
	if !known {
		total = 0
	}
	return total, nil
}

// fileWriter writes one file after the other.
type fileWriter struct {
	cmd    *writeCmd
	client *client.Client
	bar    *progressBar
	name   string // of the file, as errors have it
	done   written
	bytes  int64
}

func (w *fileWriter) file(ctx context.Context, file string) error {
	in := io.Reader(os.Stdin)
	w.name = "stdin"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close() // it was only read
		in, w.name = f, file
	}
	format := w.format(file)
	if format != "ilp" && w.cmd.Table == "" {
		return fmt.Errorf("%s: --table must say where %s goes", w.name, format)
	}
	if format == "csv" {
		return w.table(ctx, in)
	}
	return w.lines(ctx, in, format)
}

func (w *fileWriter) format(file string) string {
	if w.cmd.Format != "auto" {
		return w.cmd.Format
	}
	switch strings.ToLower(filepath.Ext(file)) {
	case ".csv":
		return "csv"
	case ".ndjson", ".jsonl", ".json":
		return "ndjson"
	}
	return "ilp"
}

// lines writes formats whose rows the cluster reads itself.
func (w *fileWriter) lines(ctx context.Context, in io.Reader, format string) error {
	cut := &pieces{in: bufio.NewReaderSize(in, 256<<10), rowsMax: w.cmd.Rows, bytesMax: w.cmd.Bytes}
	if format == "ilp" {
		cut.inString = lineProtocolString
	}
	for {
		p, err := cut.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if p.rows > 0 {
			if err := w.send(ctx, p, format); err != nil {
				return w.explain(err, p.first, cut.line)
			}
		}
		w.bytes += int64(len(p.data))
		w.bar.show(w.bytes, w.done.Rows, false)
	}
}

func (w *fileWriter) send(ctx context.Context, p piece, format string) error {
	ctx, cancel := context.WithTimeout(ctx, w.cmd.Timeout)
	defer cancel()
	if format == "ndjson" {
		return w.note(w.client.Table(w.cmd.Table).Write(ctx, client.NDJSON(p.data)))
	}
	if w.cmd.Table != "" {
		return w.note(w.client.Table(w.cmd.Table).Write(ctx, client.LineProtocol(p.data)))
	}
	results, err := w.client.WriteAll(ctx, client.LineProtocol(p.data))
	if err != nil {
		return err
	}
	var first error
	for _, r := range results { // each table's rows are a write of their own
		if err := w.note(r.Result, r.Err); first == nil {
			first = err
		}
	}
	return first
}

// note counts a write that has its answer.
func (w *fileWriter) note(r client.Result, err error) error {
	if err == nil {
		w.done.Rows += int64(r.Rows)
		w.done.Writes++
	}
	return err
}

// explain says which line of the file is to blame, or in which the rows stand that were refused together.
func (w *fileWriter) explain(err error, first, last int) error {
	where := fmt.Sprintf("%s, lines %d to %d", w.name, first, last)
	if invalid := new(client.InvalidError); errors.As(err, &invalid) && invalid.Line > 0 {
		// The message counts from the write's first line.
		message := strings.TrimPrefix(invalid.Message, fmt.Sprintf("line %d: ", invalid.Line))
		return fmt.Errorf("%s:%d: %s\n%s", w.name, first+invalid.Line-1, message, w.upTo(first, last))
	}
	if errors.Is(err, client.ErrUnknownOutcome) {
		return fmt.Errorf("%s: %w\nWhether these lines are stored is not known: look with `braid rows`", where, err)
	}
	return fmt.Errorf("%s: %w\n%s", where, err, w.upTo(first, last))
}

func (w *fileWriter) upTo(first, last int) string {
	if first <= 1 {
		return fmt.Sprintf("Nothing of lines 1 to %d of that table is stored", last)
	}
	return fmt.Sprintf("Lines 1 to %d are stored; of lines %d to %d nothing of that table is", first-1, first, last)
}
