// Package objstoretest is the suite that every objstore.Store must pass.
package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Run runs the suite. open returns a fresh, empty store each time.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s objstore.Store)
	}{
		{"PutAndGet", putAndGet},
		{"PutFromFile", putFromFile},
		{"I9_PutNeverReplaces", putNeverReplaces},
		{"PutRefusesAWrongBody", putRefusesAWrongBody},
		{"KeysAreChecked", keysAreChecked},
		{"NotFound", notFound},
		{"ListIsSorted", listIsSorted},
		{"EndOfContext", endOfContext},
		{"ConcurrentEqualPuts", concurrentEqualPuts},
		{"I9_OneOfConcurrentPutsWins", oneOfConcurrentPutsWins},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func put(t *testing.T, s objstore.Store, key, data string) {
	t.Helper()
	if err := s.Put(t.Context(), key, objstore.Bytes([]byte(data))); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// Holds fails the test unless the object has exactly these bytes.
func Holds(t *testing.T, s objstore.Store, key, want string) {
	t.Helper()
	r, size, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if string(data) != want || size != int64(len(want)) {
		t.Fatalf("%s has %d bytes (size %d), want %d, or they differ", key, len(data), size, len(want))
	}
	if info, err := s.Stat(t.Context(), key); err != nil || info != (objstore.Info{Key: key, Size: size}) {
		t.Fatalf("stat %s: %+v, %v", key, info, err)
	}
}

// Absent fails the test if there is an object with this key.
func Absent(t *testing.T, s objstore.Store, key string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("stat %s: %v, want ErrNotFound", key, err)
	}
	if _, _, err := s.Get(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("get %s: %v, want ErrNotFound", key, err)
	}
}

func putAndGet(t *testing.T, s objstore.Store) {
	big := strings.Repeat("0123456789abcdef", 100_000)
	objects := map[string]string{"a": "", "wal/p1/3/1.seg": "x", "wal/p1/3/2.seg": big, "räume/ä b": "umlauts"}
	for key, data := range objects {
		put(t, s, key, data)
	}
	for key, data := range objects {
		Holds(t, s, key, data)
	}
}

func putFromFile(t *testing.T, s objstore.Store) {
	path := filepath.Join(t.TempDir(), "1.seg")
	data := []byte("a sealed segment")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	body := objstore.File(disk.OS, path, int64(len(data)), objstore.Bytes(data).CRC)
	for range 2 { // the second finds the first's object
		if err := s.Put(t.Context(), "wal/p1/1/1.seg", body); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	Holds(t, s, "wal/p1/1/1.seg", string(data))
	if err := s.Put(t.Context(), "wal/p1/1/2.seg", body); err == nil {
		t.Error("put of a missing file worked")
	}
	Absent(t, s, "wal/p1/1/2.seg")
}

func putNeverReplaces(t *testing.T, s objstore.Store) {
	put(t, s, "k", "first")
	put(t, s, "k", "first")
	for _, other := range []string{"other", "firs", "first1", ""} {
		err := s.Put(t.Context(), "k", objstore.Bytes([]byte(other)))
		if !errors.Is(err, objstore.ErrDifferent) {
			t.Errorf("put of %q: %v, want ErrDifferent", other, err)
		}
	}
	Holds(t, s, "k", "first")
}

func putRefusesAWrongBody(t *testing.T, s objstore.Store) {
	good := objstore.Bytes([]byte("body"))
	wrong := map[string]func(b *objstore.Body){
		"checksum":  func(b *objstore.Body) { b.CRC++ },
		"too long":  func(b *objstore.Body) { b.Size-- },
		"too short": func(b *objstore.Body) { b.Size++ },
		"no reader": func(b *objstore.Body) { b.Reader = nil },
	}
	for name, spoil := range wrong {
		body := good
		spoil(&body)
		if err := s.Put(t.Context(), "k", body); !errors.Is(err, objstore.ErrBody) {
			t.Errorf("%s: %v, want ErrBody", name, err)
		}
		Absent(t, s, "k")
	}
}

func keysAreChecked(t *testing.T, s objstore.Store) {
	keys := []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.tmp", `a\b`,
		"a\x00b", "a\nb", "a\xffb", strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a"}
	for _, key := range keys {
		_, _, getErr := s.Get(t.Context(), key)
		_, statErr := s.Stat(t.Context(), key)
		for op, err := range map[string]error{
			"put": s.Put(t.Context(), key, objstore.Bytes(nil)), "get": getErr, "stat": statErr} {
			if !errors.Is(err, objstore.ErrKey) {
				t.Errorf("%s %q: %v, want ErrKey", op, key, err)
			}
		}
	}
}

func notFound(t *testing.T, s objstore.Store) {
	Absent(t, s, "a")
	put(t, s, "a/b", "x")
	Absent(t, s, "a")
	Absent(t, s, "a/c")
	Absent(t, s, "a/b/c")
}

func list(t *testing.T, s objstore.Store, prefix string) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		if info.Size != int64(len(info.Key)) {
			t.Errorf("list %q: %s has %d bytes", prefix, info.Key, info.Size)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func listIsSorted(t *testing.T, s objstore.Store) {
	if keys := list(t, s, ""); len(keys) > 0 {
		t.Fatalf("a new store lists %v", keys)
	}
	all := []string{"wal/p1/3/10.seg", "wal/p1/3/2.seg", "wal/p1/30/1.seg", "wal/p1-a/1/1.seg", "wal/p10/1/1.seg",
		"wal/p2/1/1.seg", "other", "wal.x"}
	for _, key := range all {
		put(t, s, key, key)
	}
	slices.Sort(all)
	for _, prefix := range []string{"", "wal/", "wal/p1", "wal/p1/", "wal/p1/3", "wal/p1/3/", "wal/p1/3/2.seg", "w",
		"none", "wal/p1/3/2.seg/x", "wal/p9/"} {
		var want []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := list(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %v, want %v", prefix, got, want)
		}
	}
	n := 0
	for range s.List(t.Context(), "") { // a receiver may stop
		if n++; n == 3 {
			break
		}
	}
}

func endOfContext(t *testing.T, s objstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	put(t, s, "there", "x")
	cancel()
	_, _, getErr := s.Get(ctx, "there")
	_, statErr := s.Stat(ctx, "there")
	var listErr error
	for _, err := range s.List(ctx, "") {
		listErr = err
	}
	for op, err := range map[string]error{
		"put": s.Put(ctx, "k", objstore.Bytes([]byte("x"))), "get": getErr, "stat": statErr, "list": listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", op, err)
		}
	}
}

// race puts the bodies under one key at once and returns their errors.
func race(t *testing.T, s objstore.Store, bodies [][]byte) []error {
	errs := make([]error, len(bodies))
	var done sync.WaitGroup
	for i := range bodies {
		done.Go(func() { errs[i] = s.Put(t.Context(), "raced/k", objstore.Bytes(bodies[i])) })
	}
	done.Wait()
	return errs
}

func concurrentEqualPuts(t *testing.T, s objstore.Store) {
	body := bytes.Repeat([]byte("z"), 70_000)
	for _, err := range race(t, s, slices.Repeat([][]byte{body}, 8)) {
		if err != nil {
			t.Error(err)
		}
	}
	Holds(t, s, "raced/k", string(body))
}

func oneOfConcurrentPutsWins(t *testing.T, s objstore.Store) {
	var bodies [][]byte
	for i := range 8 {
		bodies = append(bodies, fmt.Appendf(nil, "body %d", i))
	}
	winner := ""
	for i, err := range race(t, s, bodies) {
		switch {
		case err == nil && winner == "":
			winner = string(bodies[i])
		case err == nil:
			t.Errorf("%q and %q both won", winner, bodies[i])
		case !errors.Is(err, objstore.ErrDifferent):
			t.Error(err)
		}
	}
	Holds(t, s, "raced/k", winner)
}
