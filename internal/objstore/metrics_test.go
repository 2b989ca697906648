package objstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/objstoretest"
)

func TestInstrumented(t *testing.T) {
	registry := prometheus.NewRegistry() // shared, as in a process with several stores
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s, err := objstore.Instrument(objstore.NewMemory(), registry)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestMetricsCount(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, err := objstore.Instrument(objstore.NewMemory(), registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "k", objstore.Bytes([]byte("12345"))); err != nil {
		t.Fatal(err)
	}
	objstoretest.Holds(t, s, "k", "12345")
	objstoretest.Absent(t, s, "none")
	if err := s.Put(t.Context(), "k", objstore.Bytes(nil)); !errors.Is(err, objstore.ErrDifferent) {
		t.Fatal(err)
	}
	want := `
# HELP braid_objstore_bytes_total Bytes of objects put, and got as far as they were read.
# TYPE braid_objstore_bytes_total counter
braid_objstore_bytes_total{operation="get"} 5
braid_objstore_bytes_total{operation="put"} 5
# HELP braid_objstore_errors_total Object store operations that failed; an object that is not there is no failure.
# TYPE braid_objstore_errors_total counter
braid_objstore_errors_total{operation="get"} 0
braid_objstore_errors_total{operation="list"} 0
braid_objstore_errors_total{operation="mend"} 0
braid_objstore_errors_total{operation="put"} 1
braid_objstore_errors_total{operation="stat"} 0
`
	err = testutil.GatherAndCompare(registry, strings.NewReader(want),
		"braid_objstore_bytes_total", "braid_objstore_errors_total")
	if err != nil {
		t.Error(err)
	}
}
