package main

import (
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
)

func TestInspectPrintsAStoreThatNobodyHasOpen(t *testing.T) {
	dir := t.TempDir()
	store, err := bbolt.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Update(t.Context(), func(x kv.Txn) error {
		_, err := sequencer.Open(x, "cluster-of-the-test", 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := braid(t, "sequencer", "inspect", "--store", "embedded:"+dir)
	if status == 0 || !strings.Contains(stderr, "another process has it open") {
		t.Errorf("a store that is open: status %d, %s", status, stderr)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := braid(t, "sequencer", "inspect", "--store", "embedded:"+dir)
	if status != 0 || !strings.Contains(stdout, "cluster cluster-of-the-test") || !strings.Contains(stdout, "1 to 0") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}
