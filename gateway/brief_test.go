package gateway_test

import (
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/gateway"
)

// TestI8_AnErrorFitsIntoItsAnswer: megabytes that cannot be read do not come back; place and reason
// do.
func TestI8_AnErrorFitsIntoItsAnswer(t *testing.T) {
	r := newCluster(t, "p1").start(gateway.Config{})
	for name, payload := range map[string]string{
		"a number":      "cpu a=1" + strings.Repeat("1", 6<<20) + "x",
		"not UTF-8":     "cpu,t=" + strings.Repeat("\xff", 6<<20) + " a=1i",
		"a measurement": strings.Repeat("m", 6<<20) + " a=1i",
	} {
		e := r.refused("ingest", nil, payload)
		if len(e.Message) > 1100 || len(e.Table) > 200 || e.Line != 1 || !strings.HasPrefix(e.Message, "line 1: ") {
			t.Errorf("%s: told %.200s of %d bytes, table of %d", name, e.Message, len(e.Message), len(e.Table))
		}
		if name == "a number" && !strings.HasSuffix(e.Message, "is not a number of type float64") {
			t.Errorf("the reason is lost: %q", e.Message[len(e.Message)-100:])
		}
	}
}
