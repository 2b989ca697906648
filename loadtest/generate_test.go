package loadtest

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"testing"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

func TestGeneratorIsDeterministic(t *testing.T) {
	a, contentA := newCPURows("cpu", 7, 3).append(nil, 5, 20_000)
	b, contentB := newCPURows("cpu", 7, 3).append(nil, 5, 20_000)
	if sha256.Sum256(a) != sha256.Sum256(b) || contentA != contentB {
		t.Fatal("the same seed made other rows")
	}
	c, contentC := newCPURows("cpu", 8, 3).append(nil, 5, 20_000)
	if bytes.Equal(a, c) || contentA == contentC {
		t.Fatal("another seed made the same rows")
	}
}

// TestGeneratorHasTheDocumentedShape compares with the numbers of the TSBS file that the workload is named after.
func TestGeneratorHasTheDocumentedShape(t *testing.T) {
	const rows = 100_000
	text, _ := newCPURows("cpu", 123, 25).append(nil, 0, rows)
	if perRow := len(text) / rows; perRow < 340 || perRow > 355 {
		t.Errorf("%d bytes a row, TSBS has 347", perRow)
	}
	tags := map[string]map[string]bool{}
	seen := map[string]bool{}
	last := map[string][]int64{}
	steps := map[int64]int{}
	d := lineprotocol.NewDecoderWithBytes(text)
	n := 0
	for d.Next() {
		name, err := d.Measurement()
		if err != nil || string(name) != "cpu" {
			t.Fatalf("row %d: measurement %q, %v", n, name, err)
		}
		host := decodeTags(t, d, tags)
		fields := decodeFields(t, d)
		if len(fields) != 10 {
			t.Fatalf("row %d has %d fields", n, len(fields))
		}
		for i, v := range fields {
			if v < 0 || v > 100 {
				t.Fatalf("row %d: field %d is %d", n, i, v)
			}
			if before := last[host]; before != nil {
				steps[v-before[i]]++
			}
		}
		last[host] = fields
		at, err := d.TimeBytes()
		if want := strconv.FormatInt(firstTime+int64(n/hosts)*roundTime, 10); err != nil || string(at) != want {
			t.Fatalf("row %d: time %s, %v, want %s", n, at, err, want)
		}
		if seen[host+string(at)] {
			t.Fatalf("row %d: %s at %s is there twice", n, host, at)
		}
		seen[host+string(at)] = true
		n++
	}
	if n != rows {
		t.Fatalf("%d rows", n)
	}
	want := map[string]int{"hostname": 4000, "region": 9, "datacenter": 23, "rack": 100, "os": 3, "arch": 2, "team": 4,
		"service": 20, "service_version": 2, "service_environment": 3}
	for tag, count := range want {
		if len(tags[tag]) != count {
			t.Errorf("tag %s has %d values, want %d", tag, len(tags[tag]), count)
		}
	}
	// The file's shares of steps 0 and ±1 are 0.375 and 0.239 each.
	if share := float64(steps[0]) / (rows - hosts) / 10; share < 0.35 || share > 0.40 {
		t.Errorf("%.3f of the steps are 0", share)
	}
	if share := float64(steps[1]) / (rows - hosts) / 10; share < 0.22 || share > 0.26 {
		t.Errorf("%.3f of the steps are 1", share)
	}
}

func decodeTags(t *testing.T, d *lineprotocol.Decoder, tags map[string]map[string]bool) (host string) {
	for {
		key, value, err := d.NextTag()
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			return host
		}
		if tags[string(key)] == nil {
			tags[string(key)] = map[string]bool{}
		}
		tags[string(key)][string(value)] = true
		if string(key) == "hostname" {
			host = string(value)
		}
	}
}

func decodeFields(t *testing.T, d *lineprotocol.Decoder) (fields []int64) {
	for {
		key, value, err := d.NextField()
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			return fields
		}
		fields = append(fields, value.IntV())
	}
}

func TestRepeatedRoundsStayDistinctByTime(t *testing.T) {
	g := newCPURows("cpu", 1, 2)
	a, contentA := g.append(nil, 0, hosts)
	b, contentB := g.append(nil, 2*hosts, hosts) // the same fields, two rounds later
	if contentA == contentB || bytes.Equal(a, b) {
		t.Fatal("a repeated round has the same rows")
	}
	later := strconv.FormatInt(firstTime+2*roundTime, 10)
	first := strconv.FormatInt(firstTime, 10)
	if !bytes.Equal(bytes.ReplaceAll(a, []byte(first), []byte(later)), b) {
		t.Fatal("a repeated round differs in more than its time")
	}
}

// TestContentIsThatOfAnIndependentDecoder compares the generator's checksum with one made from its text.
func TestContentIsThatOfAnIndependentDecoder(t *testing.T) {
	text, content := newCPURows("cpu", 9, 2).append(nil, 3990, 30)
	rows, err := splitRows(text)
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, r := range rows {
		if r.table != "cpu" || r.opaque {
			t.Fatalf("row %+v", r)
		}
		sum = then(sum, r.sum)
	}
	if len(rows) != 30 || sum != content {
		t.Fatalf("%d rows, content %x, want %x", len(rows), sum, content)
	}
}

func BenchmarkGenerate(b *testing.B) {
	g := newCPURows("cpu", 1, cpuRoundsRing)
	var buf []byte
	rows := 0
	for b.Loop() {
		buf, _ = g.append(buf[:0], uint64(rows), 10_000)
		rows += 10_000
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.SetBytes(int64(len(buf)))
}
