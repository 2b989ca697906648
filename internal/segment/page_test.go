package segment

import (
	"bytes"
	"testing"

	"github.com/seed-551dd829/braid/internal/pagetest"
)

// TestThePageShowsTheGoldenFile compares the worked example of docs/formats/segment.md with the
// file it explains.
func TestThePageShowsTheGoldenFile(t *testing.T) {
	shown := pagetest.Listing(t, "../../docs/formats/segment.md")
	if want := goldens(t)[0].read(t); !bytes.Equal(shown, want) {
		t.Errorf("the page shows\n%x\nthe file is\n%x", shown, want)
	}
}
