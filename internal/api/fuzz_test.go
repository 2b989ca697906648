package api_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// FuzzNames: a name that is allowed survives a subject; a subject of the write path is taken apart as it was put
// together; a refusal is short.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"cpu", "a.b", "größe", "a..b", "a b", "a*", strings.Repeat("x", 128), "\xff", "ingest", "primary.p1"} {
		f.Add(name, "prod")
	}
	f.Fuzz(func(t *testing.T, name, namespace string) {
		for _, err := range []error{api.CheckTable(name), api.CheckColumn(name), api.CheckNode(name), api.CheckProducer(name),
			api.CheckNamespace(name)} {
			if err != nil && len(err.Error()) > api.MessageBytesMax+100 {
				t.Fatalf("%d bytes", len(err.Error()))
			}
		}
		s := api.Subjects{Namespace: namespace}
		if api.CheckTable(name) == nil {
			if !utf8.ValidString(name) || strings.ContainsAny(name, " /*>\\\"\n") || len(name) > api.NameBytesMax {
				t.Fatalf("%q is allowed", name)
			}
			for _, node := range []string{"", "p1"} {
				subject := s.IngestTable(name)
				if node != "" {
					subject = s.PrimaryIngestTable(node, name)
				}
				gotNode, table, ok := s.ParseIngest(subject)
				if !ok || gotNode != node || table != name {
					t.Fatalf("%q is node %q, table %q, %v", subject, gotNode, table, ok)
				}
			}
		}
		if node, table, ok := s.ParseIngest(name); ok {
			made := s.Ingest()
			switch {
			case node != "" && table != "":
				made = s.PrimaryIngestTable(node, table)
			case node != "":
				made = s.PrimaryIngest(node)
			case table != "":
				made = s.IngestTable(table)
			}
			if made != name && made+"." != name && !strings.Contains(name, "primary..") {
				t.Fatalf("%q is node %q, table %q, which make %q", name, node, table, made)
			}
		}
		if id, err := api.ParseSegmentKey(name); err == nil && id.Key() != name {
			t.Fatalf("%q is %+v", name, id)
		}
	})
}

// FuzzJSON: the messages in JSON are refused, or survive being written and read again.
func FuzzJSON(f *testing.F) {
	for _, m := range []any{
		api.Topology{Cluster: "c", Version: 1, Shards: 4, Nodes: []api.Node{{ID: "p1", Role: api.Primary}}},
		api.Heartbeat{ID: "p1", Load: 0.5}, api.SchemaAnswer{Columns: []api.Column{{Name: "timestamp", Type: api.Timestamp}}},
		api.WriteAnswer{Results: []api.WriteResult{{Table: "cpu", TxID: 1, Rows: 2, Error: api.ConflictError("cpu", 1, 2)}}},
		api.NodeTables{Tables: []api.NodeTable{{Name: "cpu"}}}, api.DigestAnswer{Table: "cpu"},
	} {
		data, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := errors.Join(survives[api.Topology](data), survives[api.Heartbeat](data), survives[api.SchemaRequest](data),
			survives[api.WriteAnswer](data), survives[api.NodeTables](data), survives[api.DigestAnswer](data),
			survives[api.RegisterNodeAnswer](data), survives[api.Error](data), survives[api.NodeInfo](data),
			survives[api.DigestRequest](data))
		if err != nil {
			t.Fatal(err)
		}
		var a api.SchemaAnswer
		if json.Unmarshal(data, &a) != nil {
			return
		}
		if s, err := api.NewSchema(a.Columns); err == nil {
			if p, ok := s.Prefix(s.Fingerprint(s.Len())); !ok || p.Len() != s.Len() || s.Len() > api.ColumnsMax {
				t.Fatalf("schema %+v", a.Columns)
			}
		}
	})
}

func survives[M any](data []byte) error {
	var m, again M
	if json.Unmarshal(data, &m) != nil {
		return nil
	}
	first, err := json.Marshal(m)
	if err != nil {
		return nil // an unknown column type, which is nobody's to send
	}
	if err := json.Unmarshal(first, &again); err != nil {
		return err
	}
	second, err := json.Marshal(again)
	if err != nil || string(first) != string(second) {
		return errors.Join(err, errors.New(string(first)+" became "+string(second)))
	}
	return nil
}
