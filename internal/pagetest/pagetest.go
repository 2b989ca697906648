// Package pagetest reads the worked examples of the pages in docs/formats, for tests that hold them against the code.
package pagetest

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Listing returns the bytes of the page's hex listing: lines of an offset and bytes, and what stands behind a · is for
// readers. Offsets that do not add up fail the test.
func Listing(t testing.TB, path string) (shown []byte) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok1 := strings.Cut(string(page), "```hex\n")
	listing, _, ok2 := strings.Cut(rest, "```")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no listing", path)
	}
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
	return shown
}
