package cluster

import (
	"testing"
	"time"
)

func TestSealIntervalSuitsTheObjectStore(t *testing.T) {
	for cfg, want := range map[NodeConfig]time.Duration{
		{Objects: "dir:/objects"}: 10 * time.Millisecond,
		{Objects: "s3:bucket"}:    100 * time.Millisecond,
		{Objects: "s3:bucket", SealInterval: 20 * time.Millisecond}:    20 * time.Millisecond,
		{Objects: "dir:/objects", SealInterval: 20 * time.Millisecond}: 20 * time.Millisecond,
	} {
		if got := cfg.sealInterval(); got != want {
			t.Errorf("%+v: %s, want %s", cfg, got, want)
		}
	}
}
