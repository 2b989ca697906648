package objstore_test

import (
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/objstoretest"
)

func TestMemory(t *testing.T) {
	objstoretest.Run(t, func(*testing.T) objstore.Store { return objstore.NewMemory() })
}

func TestDir(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s, err := objstore.Open(t.Context(), "dir:"+t.TempDir()+"/new/objects", objstore.S3Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestDirOnMemoryDisk(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s, err := objstore.OpenDir(t.Context(), disk.NewMemory(), "data/objects")
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOpenSaysWhatIsWrongWithASpec(t *testing.T) {
	for spec, want := range map[string]string{
		"s3:": "use dir:PATH or s3:BUCKET", "dir:": "use dir:PATH", "": "use dir:PATH",
		"/data": "use dir:PATH", "mem:x": "use dir:PATH"} {
		_, err := objstore.Open(t.Context(), spec, objstore.S3Config{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %q: %v, want %q", spec, err, want)
		}
	}
	if _, err := objstore.Open(t.Context(), "mem:", objstore.S3Config{}); err != nil {
		t.Error(err)
	}
}
