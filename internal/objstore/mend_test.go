package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/disk"
)

var rotten = strings.Replace(testData, "sealed", "seaLed", 1)

// bySeal finds sound what begins as testData does and never holds an L.
func bySeal(r io.ReaderAt, size int64) (damage, err error) {
	b := make([]byte, size)
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if s := string(b); !strings.HasPrefix(s, "a sealed") || strings.Contains(s, "L") {
		return fmt.Errorf("%d bytes without a seal", size), nil
	}
	return nil, nil
}

// TestI9_MendReplacesOnlyWhatIsProvedDamaged: what there is before, and what there is after.
func TestI9_MendReplacesOnlyWhatIsProvedDamaged(t *testing.T) {
	other := "a sealed segment of somebody else"
	path := filepath.Join("objects", filepath.FromSlash(testKey))
	for _, c := range []struct {
		name   string
		object string // "": none
		fault  func(op disk.Op) error
		body   Body
		after  string
		want   error
	}{
		{name: "a sound object is left as it is", object: testData, after: testData},
		{name: "a sound object with other bytes is never touched", object: other, after: other, want: ErrDifferent},
		{name: "a damaged one is replaced", object: rotten, after: testData},
		{name: "one that is cut short is replaced", object: testData[:7], after: testData},
		{name: "one that is not there is put", after: testData},
		{name: "one that cannot be read proves nothing and is left", object: rotten, after: rotten, want: syscall.EIO,
			fault: func(op disk.Op) error {
				if op.Kind == disk.OpRead && op.Path == path {
					return syscall.EIO
				}
				return nil
			}},
		{name: "a body that is not what it says changes nothing", object: rotten, after: rotten, want: ErrBody,
			body: Body{Reader: strings.NewReader(rotten), Size: int64(len(rotten)), CRC: 1}},
		{name: "a full disk changes nothing", object: rotten, after: rotten, want: syscall.ENOSPC,
			fault: func(op disk.Op) error {
				if op.Kind == disk.OpWrite {
					return syscall.ENOSPC
				}
				return nil
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newDisk(t)
			d := openTest(t, m)
			if c.object != "" {
				must(t, d.Put(t.Context(), testKey, Bytes([]byte(c.object))))
			}
			if c.body.Reader == nil {
				c.body = Bytes([]byte(testData))
			}
			m.Hook(c.fault)
			err := d.Mend(t.Context(), testKey, c.body, bySeal)
			m.Hook(nil)
			if !errors.Is(err, c.want) {
				t.Errorf("Mend: %v, want %v", err, c.want)
			}
			if got, _ := content(t, d, testKey); got != c.after {
				t.Errorf("%q is there, want %q", got, c.after)
			}
			left, err := m.ReadDir(filepath.Join("objects", tempDir))
			if must(t, err); len(left) != 1 || left[0].Name() != mendLock {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestMendTakesTheObjectOutOfALink: the object and a primary's local file are one file that has rotted. The object is
// mended; the local file is not touched, and neither can rot with the other again.
func TestMendTakesTheObjectOutOfALink(t *testing.T) {
	m := newDisk(t)
	must(t, m.WriteFileSync("local/1.seg", []byte(rotten)))
	d := openTest(t, m)
	bad, good := Bytes([]byte(rotten)), File(m, "local/2.seg", int64(len(testData)), Bytes([]byte(testData)).CRC)
	must(t, m.WriteFileSync("local/2.seg", []byte(testData)))
	must(t, d.Put(t.Context(), testKey, File(m, "local/1.seg", bad.Size, bad.CRC)))
	must(t, d.Mend(t.Context(), testKey, good, bySeal))
	if got, _ := content(t, d, testKey); got != testData {
		t.Fatalf("the object holds %q", got)
	}
	if b, err := disk.ReadFile(m, "local/1.seg"); err != nil || string(b) != rotten {
		t.Fatalf("the local file holds %q, %v", b, err)
	}
	object, err := m.Stat(filepath.Join("objects", testKey))
	must(t, err)
	body, err := m.Stat("local/2.seg")
	if must(t, err); object.Sys() == body.Sys() {
		t.Fatal("the object is a link to the body")
	}
}

func TestOneMendAtATime(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	must(t, d.Put(t.Context(), testKey, Bytes([]byte(rotten))))
	judge := func(r io.ReaderAt, size int64) (damage, err error) {
		inner := openTest(t, m).Mend(t.Context(), testKey, Bytes([]byte(testData)), bySeal)
		if !errors.Is(inner, disk.ErrLocked) {
			t.Errorf("a second one meanwhile: %v", inner)
		}
		return bySeal(r, size)
	}
	must(t, d.Mend(t.Context(), testKey, Bytes([]byte(testData)), judge))
}

// TestI9_AMendSurvivesACrashAfterAnyOperation: at every moment the object is the damaged one or the mended one, and
// after nil the mended one. A mend that is sent again works.
func TestI9_AMendSurvivesACrashAfterAnyOperation(t *testing.T) {
	for _, object := range []string{rotten, ""} {
		for torn := range uint64(8) {
			for n := 0; ; n++ {
				m := newDisk(t)
				d := openTest(t, m)
				if object != "" {
					must(t, d.Put(t.Context(), testKey, Bytes([]byte(object))))
				}
				m.StopAfter(n)
				mendErr := d.Mend(t.Context(), testKey, Bytes([]byte(testData)), bySeal)
				m.Crash(disk.Torn(torn))
				d = openTest(t, m)
				got, _ := content(t, d, testKey)
				if got != testData && (mendErr == nil || got != object) {
					t.Fatalf("crash after %d operations (Mend: %v): %q is there", n, mendErr, got)
				}
				must(t, d.Mend(context.Background(), testKey, Bytes([]byte(testData)), bySeal))
				if got, _ := content(t, d, testKey); got != testData {
					t.Fatalf("crash after %d operations, mended again: %q is there", n, got)
				}
				if mendErr == nil {
					break
				}
			}
		}
	}
}

func TestMendOfAStoreThatCannot(t *testing.T) {
	s, err := Instrument(NewMemory(), prometheus.NewRegistry())
	must(t, err)
	err = s.(Mender).Mend(t.Context(), testKey, Bytes([]byte(testData)), bySeal)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
}
