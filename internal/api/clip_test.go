package api_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestI8_ErrorsQuoteLittle: whatever goes into an error, place and reason come out, in about
// MessageBytesMax bytes; and not even on the way are megabytes made of it.
func TestI8_ErrorsQuoteLittle(t *testing.T) {
	const most = api.MessageBytesMax + 10
	big := strings.Repeat("\xff", 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, e := range map[string]*api.Error{
		"a string":        api.Errorf(api.Invalid, "column %q is not known", big),
		"bytes":           api.Errorf(api.Invalid, "column %q is not known", []byte(big)),
		"as it is":        api.Errorf(api.Invalid, "column %s is not known", big),
		"two":             api.Errorf(api.Invalid, "column %q and %q is not known", big, []byte(big)),
		"an error in it":  api.Errorf(api.Invalid, "column %v is not known", errors.New(api.Quote(big))),
		"a node":          api.Errorf(api.Invalid, "column: %v is not known", api.CheckNode(big)),
		"a producer":      api.Errorf(api.Invalid, "column: %v is not known", api.CheckProducer(big)),
		"a table":         api.Errorf(api.Invalid, "column: %v is not known", api.CheckTable(big)),
		"twice the bound": api.Errorf(api.Invalid, "column %s is not known", big[:2*api.MessageBytesMax]),
	} {
		e = e.AtLine(3).InTable(big)
		if len(e.Message) > most || len(e.Description()) > most+20 || len(e.Table) > api.NameBytesMax+10 ||
			!strings.HasPrefix(e.Message, "line 3: column") || !strings.HasSuffix(e.Message, "is not known") {
			t.Errorf("%s: %d bytes, table of %d: %.60q … %.60q", name, len(e.Message), len(e.Table), e.Message,
				e.Message[max(0, len(e.Message)-60):])
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 40<<20 { // the strings and byte slices of 8 MB themselves
		t.Errorf("%d MB were allocated", took>>20)
	}
}

// TestClip: the ends stay, characters are whole, and what is short is not touched.
func TestClip(t *testing.T) {
	for n := range 40 {
		text := strings.Repeat("é日a", 20)
		got := api.Clip(text, n)
		if !utf8.ValidString(got) || len(got) > n+len(" … ") {
			t.Errorf("%d: %q of %d bytes", n, got, len(got))
		}
	}
	for _, text := range []string{"", "abc", strings.Repeat("x", 30)} {
		if got := api.Clip(text, 30); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := api.Clip("line 7: "+strings.Repeat("x", 100)+" is bad", 20); got != "line 7: xx … xxx is bad" {
		t.Errorf("%q", got)
	}
	if got := api.Quote("a\n\xff"); got != `"a\n\xff"` {
		t.Errorf("%s", got)
	}
}
