package segment

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestThePageShowsTheGoldenFile compares the worked example of docs/formats/segment.md with the
// file it explains.
func TestThePageShowsTheGoldenFile(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/segment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok1 := strings.Cut(string(page), "```hex\n")
	listing, _, ok2 := strings.Cut(rest, "```")
	if !ok1 || !ok2 {
		t.Fatal("the page has no listing")
	}
	var shown []byte
	for line := range strings.Lines(listing) {
		line, _, _ = strings.Cut(line, "·")
		fields := strings.Fields(line)
		at, err := strconv.ParseInt(fields[0], 16, 32)
		if err != nil || int(at) != len(shown) {
			t.Fatalf("line %q is at byte %#x", line, len(shown))
		}
		b, err := hex.DecodeString(strings.Join(fields[1:], ""))
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		shown = append(shown, b...)
	}
	if want := goldens(t)[0].read(t); !bytes.Equal(shown, want) {
		t.Errorf("the page shows\n%x\nthe file is\n%x", shown, want)
	}
}
