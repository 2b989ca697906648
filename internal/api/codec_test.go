package api_test

import (
	"reflect"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

func header() *api.GroupHeader {
	return &api.GroupHeader{
		Table:       "cpu",
		Fingerprint: api.Fingerprint{}.Extend(api.Column{Name: api.TimestampColumn, Type: api.Timestamp}),
		Durability:  api.DurabilityWAL,
		ID:          api.ProducerSeq{Producer: "gw-1", Epoch: 3, Sequence: 9, Settled: 8},
		Writes: []api.WriteMeta{
			{Rows: 10},
			{Rows: 1, Locked: true, Expected: 41, Key: "order-7"},
			{Rows: 2, Locked: true, ID: api.ProducerSeq{Producer: "app", Epoch: 5, Sequence: 1}},
		},
	}
}

func record() *api.LogRecord {
	return &api.LogRecord{
		Table: "cpu", First: 42, Segment: api.SegmentID{Node: "p1", Epoch: 3, Sequence: 1}, Offset: 64,
		Length: 1000, CRC: 0xdeadbeef, Writes: 3, Rows: 12, Mask: []byte{0b101}, State: api.Confirmed,
	}
}

// messages are one of each binary message: encoded, and how to decode and encode it again.
func messages(t *testing.T) map[string]struct {
	data  []byte
	again func([]byte) ([]byte, error)
} {
	t.Helper()
	type message = struct {
		data  []byte
		again func([]byte) ([]byte, error)
	}
	request := &api.CommitRequest{Node: "p1", Epoch: 3, Groups: []api.CommitGroup{
		{Segment: 1, Offset: 64, Length: 1000, CRC: 1 << 31, State: api.Confirmed,
			Header: api.AppendGroupHeader(nil, header())},
		{Segment: 2, Offset: 64, Length: 10, State: api.Pending, Holders: []string{"p1", "r1"},
			Header: api.AppendGroupHeader(nil, header())},
	}}
	answers := []api.GroupAnswer{
		{Writes: []api.Outcome{{Verdict: api.Accepted, TxID: 42}, {Verdict: api.RefusedConflict, Expected: 1, Current: 2}}},
		{Err: api.OverloadedError(50, "busy")},
		{Writes: []api.Outcome{{Verdict: api.RefusedSettled}}, Pending: true},
	}
	return map[string]message{
		"group header": {api.AppendGroupHeader(nil, header()), func(b []byte) ([]byte, error) {
			h, err := api.ParseGroupHeader(b)
			return api.AppendGroupHeader(nil, &h), err
		}},
		"commit request": {api.AppendCommitRequest(nil, request), func(b []byte) ([]byte, error) {
			r, err := api.ParseCommitRequest(b)
			return api.AppendCommitRequest(nil, &r), err
		}},
		"commit answer": {api.AppendCommitAnswer(nil, answers), func(b []byte) ([]byte, error) {
			a, err := api.ParseCommitAnswer(b)
			return api.AppendCommitAnswer(nil, a), err
		}},
		"log record": {api.AppendLogRecord(nil, record()), func(b []byte) ([]byte, error) {
			r, err := api.ParseLogRecord(1, b)
			return api.AppendLogRecord(nil, &r), err
		}},
		"log answer": {
			api.AppendLogAnswer(nil, 9, 8, [][]byte{api.AppendLogRecord(nil, record()), api.AppendLogRecord(nil, record())}),
			func(b []byte) ([]byte, error) {
				a, err := api.ParseLogAnswer(b)
				var raw [][]byte
				for i := range a.Records {
					raw = append(raw, api.AppendLogRecord(nil, &a.Records[i]))
				}
				return api.AppendLogAnswer(nil, a.Head, 8, raw), err
			}},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for name, m := range messages(t) {
		again, err := m.again(m.data)
		if err != nil || !reflect.DeepEqual(again, m.data) {
			t.Errorf("%s: %v\n% x\n% x", name, err, m.data, again)
		}
	}
}

// TestI8_CutMessagesAreRefused: every message cut at any byte, or with a byte too many, is an error and no panic.
func TestI8_CutMessagesAreRefused(t *testing.T) {
	for name, m := range messages(t) {
		for n := range m.data {
			if _, err := m.again(m.data[:n]); err == nil {
				t.Errorf("%s: cut at byte %d of %d is accepted", name, n, len(m.data))
			}
		}
		if _, err := m.again(append(m.data[:len(m.data):len(m.data)], 0)); err == nil {
			t.Errorf("%s: a trailing byte is accepted", name)
		}
	}
}

func TestRecordCountsItsMask(t *testing.T) {
	r := record()
	if r.Count() != 2 || r.Last() != 43 || !r.Accepted(0) || r.Accepted(1) || !r.Accepted(2) {
		t.Fatalf("count %d, last %d", r.Count(), r.Last())
	}
	r.Mask = nil
	if r.Count() != 3 || !r.Accepted(1) {
		t.Fatalf("without a mask all %d writes are accepted, count says %d", r.Writes, r.Count())
	}
}

// FuzzMessages: no bytes make a decoder panic, and what decodes encodes to something that decodes to the same.
func FuzzMessages(f *testing.F) {
	f.Add(api.AppendGroupHeader(nil, header()))
	f.Add(api.AppendLogRecord(nil, record()))
	f.Add(api.AppendCommitAnswer(nil, []api.GroupAnswer{{Err: api.Errorf(api.Unavailable, "x")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := api.ParseGroupHeader(b); err == nil {
			again, err := api.ParseGroupHeader(api.AppendGroupHeader(nil, &h))
			if err != nil || !reflect.DeepEqual(h, again) {
				t.Fatalf("group header %+v became %+v, %v", h, again, err)
			}
		}
		if r, err := api.ParseLogRecord(1, b); err == nil {
			again, err := api.ParseLogRecord(1, api.AppendLogRecord(nil, &r))
			if err != nil || !reflect.DeepEqual(r, again) {
				t.Fatalf("log record %+v became %+v, %v", r, again, err)
			}
		}
		for _, decode := range []func() error{
			func() error { _, err := api.ParseCommitRequest(b); return err },
			func() error { _, err := api.ParseCommitAnswer(b); return err },
			func() error { _, err := api.ParseLogAnswer(b); return err },
			func() error { _, err := api.ParseGroupAnswer(b); return err },
		} {
			_ = decode() // only that it returns
		}
	})
}
