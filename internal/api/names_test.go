package api_test

import (
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

func TestTableNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"cpu": true, "a.b": true, "größe": true, strings.Repeat("x", 127): true, "a-b_c": true,
		"": false, strings.Repeat("x", 128): false, "a b": false, "a/b": false, "a*": false, "a>": false,
		`a\b`: false, `a"`: false, ".a": false, "a.": false, "a..b": false, "a\x00": false, "\xff": false, "a\n": false,
	} {
		if err := api.CheckTable(name); (err == nil) != ok {
			t.Errorf("table %q: %v", name, err)
		}
	}
}

func TestIngestSubjects(t *testing.T) {
	for _, ns := range []string{"", "prod"} {
		s := api.Subjects{Namespace: ns}
		for subject, want := range map[string][2]string{
			s.Ingest():                        {"", ""},
			s.IngestTable("a.b"):              {"", "a.b"},
			s.PrimaryIngest("p1"):             {"p1", ""},
			s.PrimaryIngestTable("p1", "cpu"): {"p1", "cpu"},
		} {
			node, table, ok := s.ParseIngest(subject)
			if !ok || node != want[0] || table != want[1] {
				t.Errorf("%s: node %q, table %q, %v", subject, node, table, ok)
			}
		}
	}
	if _, _, ok := (api.Subjects{Namespace: "prod"}).ParseIngest("ingest.cpu"); ok {
		t.Error("a subject of another namespace is taken")
	}
}

func TestSchemaPrefixes(t *testing.T) {
	columns := []api.Column{
		{Name: "timestamp", Type: api.Timestamp}, {Name: "host", Type: api.Tag}, {Name: "v", Type: api.Int64},
	}
	s, err := api.NewSchema(columns)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := s.Prefix(s.Fingerprint(2))
	if !ok || p.Len() != 2 || p.Fingerprint(2) != s.Fingerprint(2) {
		t.Fatalf("prefix of 2: %d columns, %v", p.Len(), ok)
	}
	other, err := api.NewSchema([]api.Column{columns[0], {Name: "host", Type: api.String}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Prefix(other.Fingerprint(2)); ok {
		t.Fatal("a column of another type has the same fingerprint")
	}
	for _, bad := range [][]api.Column{nil, columns[1:], {columns[0], columns[1], columns[1]}, {columns[0], columns[0]}} {
		if _, err := api.NewSchema(bad); err == nil {
			t.Errorf("schema %v is accepted", bad)
		}
	}
}

func TestSegmentKeys(t *testing.T) {
	id := api.SegmentID{Node: "p1", Epoch: 12, Sequence: 345}
	if got, err := api.ParseSegmentKey(id.Key()); err != nil || got != id || id.Key() != "wal/p1/12/345.seg" {
		t.Fatalf("%s: %v, %v", id.Key(), got, err)
	}
	for _, bad := range []string{
		"", "wal/p1/1/1", "wal/p1/01/1.seg", "wal/P1/1/1.seg", "wal/p1/1/1/1.seg", "x/p1/1/1.seg",
	} {
		if _, err := api.ParseSegmentKey(bad); err == nil {
			t.Errorf("key %q is accepted", bad)
		}
	}
}
