package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPiecesEndWhereRowsEnd(t *testing.T) {
	const text = "# a comment with a \"\n" + "cpu,host=a\\ \"b v=1i,s=\"two\nlines\" 1\n\n" + "mem,h=\"x v=\"\\\"\" 2\n" + "cpu v=3i 3"
	for rows, want := range map[int][]string{
		1: {"1:# a comment with a \"\ncpu,host=a\\ \"b v=1i,s=\"two\nlines\" 1\n", "4:\nmem,h=\"x v=\"\\\"\" 2\n", "6:cpu v=3i 3"},
		9: {"1:" + text},
	} {
		p := &pieces{in: bufio.NewReaderSize(strings.NewReader(text), 16), rowsMax: rows, bytesMax: 1 << 20,
			inString: lineProtocolString}
		var got []string
		for {
			piece, err := p.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d:%s", piece.first, piece.data))
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%d rows a piece: %q, want %q", rows, got, want)
		}
	}
}

func TestProgressBarSaysWhatIsDone(t *testing.T) {
	p := &progressBar{total: 200}
	if got := p.line(50, 1000, 2*time.Second); got != "██████░░░░░░░░░░░░░░░░░░  25 %  1000 rows  0.0 MB  500 rows/s" {
		t.Errorf("%q", got)
	}
	if p.total = 0; strings.Contains(p.line(50, 1000, time.Second), "%") {
		t.Error("a share of what nobody knows")
	}
}

// TestProcessesWriteAndFollow: what `braid write` takes in three formats, `braid follow` gives back, and what is refused
// names its file and line.
func TestProcessesWriteAndFollow(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	dir := t.TempDir()
	up := startUp(t, filepath.Join(dir, "data"))
	run := func(args ...string) (status int, stdout, stderr string) {
		t.Helper()
		return braid(t, append(args, "--server", up.get("nats"))...)
	}
	const rows = 100_000
	var lines strings.Builder
	for i := range rows {
		fmt.Fprintf(&lines, "cpu,host=h%d n=%di,load=0.5,note=\"a\nb\" %d\n", i%100, i, i+1)
	}
	file := filepath.Join(dir, "cpu.lp")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs := run("write", file, "--rows", "7000")
	if status != 0 || out != "100000 rows in 15 writes\n" || errs != "" {
		t.Fatalf("write: status %d, %q, %q\n%s", status, out, errs, up.tail())
	}
	for _, format := range []string{"csv", "ndjson"} {
		_, given, _ := run("follow", "cpu", "--from-txid", "1", "--to-txid", "15", "--format", format)
		copied := filepath.Join(dir, "copy."+format)
		if err := os.WriteFile(copied, []byte(given), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, errs := run("write", copied, "--table", format, "--symbols", "host")
		if status != 0 || !strings.HasPrefix(out, "100000 rows in ") {
			t.Fatalf("write %s: status %d, %q, %q", format, status, out, errs)
		}
		_, again, _ := run("rows", format, "--format", format)
		if again != given || strings.Count(given, "h99") != rows/100 {
			t.Errorf("%s: %d bytes came back of %d", format, len(again), len(given))
		}
	}
	bad := filepath.Join(dir, "bad.lp")
	if err := os.WriteFile(bad, []byte("cpu n=1i 1\ncpu n=2i 2\ncpu n=x 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs = run("write", bad, "--rows", "2", "--table", "cpu")
	if status != 1 || out != "2 rows in 1 write\n" || !strings.Contains(errs, bad+":3: ") ||
		!strings.Contains(errs, "Lines 1 to 2 are stored") {
		t.Errorf("a bad line: status %d, %q, %q", status, out, errs)
	}
	if err := os.WriteFile(bad, []byte("timestamp,n\n1,5\n2,five\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, errs = run("write", bad, "--table", "cpu", "--format", "csv")
	if status != 1 || !strings.Contains(errs, bad+`:3: column "n": "five" is not int64`) {
		t.Errorf("a bad cell: status %d, %q", status, errs)
	}
	up.stop()
}
