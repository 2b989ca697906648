package api_test

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

var holdExamples = []api.HoldRequest{
	{Kind: api.HoldPiece, Segment: api.SegmentID{Node: "p1", Epoch: 7, Sequence: 2}, Offset: 3, Total: 10, Data: []byte("abc")},
	{Kind: api.HoldDrop, Segment: api.SegmentID{Node: "p1", Epoch: 1 << 40, Sequence: 1}},
	{Kind: api.HoldSettle, Segment: api.SegmentID{Node: "p-2", Epoch: 1, Sequence: 1 << 50}},
}

func TestHoldRequestReadsBack(t *testing.T) {
	for _, want := range holdExamples {
		b := api.AppendHoldRequest(nil, &want)
		got, err := api.ParseHoldRequest(b)
		if len(got.Data) == 0 {
			got.Data = nil
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v reads back as %+v, %v", want, got, err)
		}
		for i := range b { // every cut, and every flip of a bit
			if _, err := api.ParseHoldRequest(b[:i]); err == nil {
				t.Errorf("cut at %d it is read", i)
			}
			flipped := bytes.Clone(b)
			flipped[i] ^= 1 << (i % 8)
			if _, err := api.ParseHoldRequest(flipped); err == nil {
				t.Errorf("with a flipped bit in byte %d it is read", i)
			}
		}
	}
}

func TestHoldRequestRefuses(t *testing.T) {
	id := api.SegmentID{Node: "p1", Epoch: 1, Sequence: 1}
	for what, r := range map[string]api.HoldRequest{
		"kind":         {Kind: 9, Segment: id},
		"no kind":      {Segment: id},
		"node":         {Kind: api.HoldDrop, Segment: api.SegmentID{Node: "../x"}},
		"empty piece":  {Kind: api.HoldPiece, Segment: id, Total: 10},
		"too long":     {Kind: api.HoldPiece, Segment: id, Offset: 8, Total: 10, Data: []byte("abc")},
		"overflow":     {Kind: api.HoldPiece, Segment: id, Offset: 1<<64 - 1, Total: 10, Data: []byte("abc")},
		"large piece":  {Kind: api.HoldPiece, Segment: id, Total: 4 << 20, Data: make([]byte, api.HoldPieceBytes+1)},
		"large file":   {Kind: api.HoldPiece, Segment: id, Total: api.SegmentHeldMax + 1, Data: []byte("a")},
		"drop of data": {Kind: api.HoldDrop, Segment: id, Total: 1, Data: []byte("a")},
	} {
		if _, err := api.ParseHoldRequest(api.AppendHoldRequest(nil, &r)); err == nil {
			t.Errorf("%s: %+v is taken", what, r)
		}
	}
}

// FuzzHoldRequest: what is read says the same when it is written again.
func FuzzHoldRequest(f *testing.F) {
	for i := range holdExamples {
		f.Add(api.AppendHoldRequest(nil, &holdExamples[i]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := api.ParseHoldRequest(b)
		if err != nil {
			return
		}
		again, err := api.ParseHoldRequest(api.AppendHoldRequest(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%x is %+v, then %+v, %v", b, r, again, err)
		}
	})
}

// TestHoldExampleOfThePage: the bytes on docs/formats/wire.md are what the code makes.
func TestHoldExampleOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	b := api.AppendHoldRequest(nil, &api.HoldRequest{Kind: api.HoldPiece,
		Segment: api.SegmentID{Node: "p1", Epoch: 7, Sequence: 2}, Total: 10, Data: []byte("abc")})
	var line string
	for l := range strings.Lines(string(page)) {
		if strings.HasPrefix(l, "01   01    02 70 31") {
			line = strings.Join(strings.Fields(l), " ")
		}
	}
	if want := fmt.Sprintf("% x", b); line != want {
		t.Errorf("the page has %q, the code makes %q", line, want)
	}
}
