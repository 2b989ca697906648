package replicator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/segment"
)

func mixed(t *testing.T) (*world, *node) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{
		{`{"timestamp":1,"a":1,"s":"x"}` + "\n" + `{"timestamp":2,"a":-9223372036854775808}`, false},
		{`{"timestamp":3,"s":""}`, false}}})
	w.commit(group{"cpu", []write{{`{"timestamp":4,"f":-0.0,"a":2,"b":true}`, false}}})
	return w, w.startFresh("r1")
}

func TestFormatsOverHTTP(t *testing.T) {
	_, n := mixed(t)
	for path, want := range map[string]string{
		"?format=ndjson": `{"timestamp":1,"a":1,"s":"x"}
{"timestamp":2,"a":-9223372036854775808}
{"timestamp":3,"s":""}
{"timestamp":4,"a":2,"f":-0,"b":true}
`,
		"?format=csv": `timestamp,a,s,f,b
1,1,x,,
2,-9223372036854775808,,,
3,,"",,
4,2,,-0,true
`,
	} {
		if got := strings.ReplaceAll(n.mustGet(t, "/tables/cpu"+path), "\r\n", "\n"); got != want {
			t.Errorf("%s: got\n%swant\n%s", path, got, want)
		}
	}
	got := n.mustGet(t, "/tables/cpu?txid=1&from_txid=2")
	for i, line := range strings.Split(strings.TrimSpace(got), "\n") {
		var row map[string]json.Number
		_ = json.Unmarshal([]byte(strings.Replace(line, ",\"b\":true", "", 1)), &row)
		if !strings.Contains(line, fmt.Sprintf(`"txid":%d`, i+2)) {
			t.Errorf("row %s has not the TxID %d", line, i+2)
		}
	}
}

// TestI8_QueriesAreReadWhole: a query that cannot be read is refused; no part of it is ignored.
func TestI8_QueriesAreReadWhole(t *testing.T) {
	_, n := mixed(t)
	for _, query := range []string{
		"format=xml", "format=", "from_txid=x", "to_txid=-1", "txid=maybe", "from_txid=%zz", "from_txid=1;to_txid=2",
		"to_txid=1&to_txid=2", "format=csv&format=csv", "wait=10", "wait=-1s", "wait=1s&wait=2s", "txid_column=",
		"txid=1&txid_column=%ff",
	} {
		status, _, body, err := n.get("/tables/cpu?" + query)
		if err != nil || status != http.StatusBadRequest || !strings.Contains(body, `"invalid"`) {
			t.Errorf("%s: status %d, %v: %s", query, status, err, body)
		}
	}
}

func TestArrowOverHTTP(t *testing.T) {
	_, n := mixed(t)
	r, err := http.Get(n.http.URL + "/tables/cpu?format=arrow")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	reader, err := ipc.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if names := fmt.Sprint(reader.Schema().Fields()); reader.Schema().NumFields() != 5 {
		t.Errorf("fields %s", names)
	}
	rows := 0
	for reader.Next() {
		batch := reader.RecordBatch()
		rows += int(batch.NumRows())
		if _, ok := batch.Column(1).(*array.Int64); !ok {
			t.Errorf("column a is %T", batch.Column(1))
		}
	}
	if reader.Err() != nil || rows != 4 {
		t.Errorf("%d rows, %v", rows, reader.Err())
	}
}

func TestDamagedSegmentIsRepairedOnRead(t *testing.T) {
	w := newWorld(t, 1)
	first := w.commit(group{"cpu", []write{{rows(1, 3000), false}}})
	second := w.commit(group{"cpu", []write{{rows(3001, 6000), false}}})
	n := w.startFresh("r1")
	for name, change := range map[string]func([]byte) []byte{
		"flipped": flip(500),
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
	} {
		n.damage(t, first, change)
		n.damage(t, second, change)
		if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 6000) {
			t.Errorf("%s: %d bytes came back", name, len(got))
		}
	}
	if err := n.fs.Remove(segment.Path("/node/segments", second)); err != nil {
		t.Fatal(err)
	}
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 6000) {
		t.Errorf("gone: %d bytes came back", len(got))
	}
}

func TestDamagedSegmentIsRepairedFromAnotherNode(t *testing.T) {
	w := newWorld(t, 1)
	id := w.commit(group{"cpu", []write{{rows(1, 100), false}}})
	w.startFresh("r0").damage(t, id, flip(400)) // it has a damaged copy itself, and is asked first
	w.startFresh("r1")
	n := w.startFresh("r2")
	w.objects.lost.Store(true)
	n.damage(t, id, flip(300))
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 100) {
		t.Errorf("%d bytes came back", len(got))
	}
}

// A read that cannot be completed never ends as if it were complete.
func TestReadBreaksOffWhenRowsCannotBeHad(t *testing.T) {
	w := newWorld(t, 1)
	first := w.commit(group{"cpu", []write{{rows(1, 20000), false}}})
	second := w.commit(group{"cpu", []write{{rows(20001, 20100), false}}})
	cfg := w.config("r1")
	cfg.RepairWait = 50 * time.Millisecond
	n := w.start(disk.NewMemory(), cfg)
	n.wait(w)
	w.objects.lost.Store(true)
	n.damage(t, second, flip(300))
	// Megabytes are on their way when the damage is met: the connection is cut.
	if status, _, body, err := n.get("/tables/cpu"); err == nil {
		t.Errorf("a broken read ended cleanly: status %d, %d bytes", status, len(body))
	}
	// Nothing has been sent yet: a proper error.
	n.damage(t, first, flip(300))
	status, header, body, err := n.get("/tables/cpu")
	var e api.Error
	if err == nil {
		err = json.Unmarshal([]byte(body), &e)
	}
	if err != nil || status != 503 || e.Table != "cpu" || header.Get(api.HeaderTxID) != "" {
		t.Errorf("status %d, %v, %s", status, err, body)
	}
}

func TestDamagedRecordFileIsReadAgainFromTheLog(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 50 {
		w.commit(group{"cpu", []write{{rows(i+1, i+1), false}}}, group{"mem", []write{{rows(i+1, i+1), false}}})
	}
	n := w.startFresh("r1")
	want := n.everything(t)
	path := recordsFile("cpu")
	b, err := disk.ReadFile(n.fs, path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	if err := n.fs.WriteFileSync(path, b); err != nil {
		t.Fatal(err)
	}
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 50) {
		t.Errorf("%d bytes came back", len(got))
	}
	if err := n.fs.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 50) {
		t.Errorf("%d bytes came back", len(got))
	}
	if got := n.everything(t); got != want {
		t.Errorf("after repairs:\n%s\n\nwant:\n%s", got, want)
	}
}

// Without the sequencer, rows are read with the schema that is remembered.
func TestReadWithoutTheSequencer(t *testing.T) {
	w, n := mixed(t)
	want := n.mustGet(t, "/tables/cpu")
	w.down.Store(true)
	if got := n.mustGet(t, "/tables/cpu"); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestClientThatGoesAwayEndsItsRead(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 40 {
		w.commit(group{"cpu", []write{{rows(i*5000+1, (i+1)*5000), false}}})
	}
	n := w.startFresh("r1")
	r, err := http.Get(n.http.URL + "/tables/cpu")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil {
		t.Fatal(err)
	}
	natstest.EventuallyNil(t, "the read has ended", func() error {
		if len(n.reads) > 0 {
			return errNotYet
		}
		return nil
	})
}

// TestI8_ATablesOwnColumnTxID: whoever asks for the TxIDs of a table that has a column of that name is
// told so, before anything is sent; it is no read that broke.
func TestI8_ATablesOwnColumnTxID(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{`{"timestamp":1,"txid":7}`, false}}})
	n := w.startFresh("r1")
	for _, format := range []string{"ndjson", "csv", "arrow"} {
		status, header, body, err := n.get("/tables/cpu?txid=1&format=" + format)
		if err != nil || status != http.StatusBadRequest || header.Get(api.HeaderTxID) != "" ||
			header.Get(api.HeaderContentType) != api.TypeJSON || !strings.Contains(body, `\"txid\" of its own`) {
			t.Errorf("%s: status %d, %v, %v: %s", format, status, err, header, body)
		}
	}
	if got := testutil.ToFloat64(n.metrics.readsBroken); got != 0 {
		t.Errorf("%v reads count as broken", got)
	}
	if got := n.mustGet(t, "/tables/cpu?txid=1&txid_column=tx"); got != `{"timestamp":1,"tx":1,"txid":7}`+"\n" {
		t.Errorf("with another name: %s", got)
	}
	if got := n.mustGet(t, "/tables/cpu"); got != `{"timestamp":1,"txid":7}`+"\n" {
		t.Errorf("read %s", got)
	}
}
