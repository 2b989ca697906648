package replicator

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/segment"
)

// Handler serves what is on this node:
//
//	GET /tables
//	GET /tables/{table}?from_txid=&to_txid=&format=ndjson|csv|arrow&txid=&txid_column=&wait=
//	GET /segments/{node}/{epoch}/{sequence}
//
// With wait, a read of TxIDs that are not applied yet is answered when the first of them is, or without rows when that
// time has passed. The last is for other nodes' repairs: a segment file as it is, unchecked, if it is here.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tables", s.serveTables)
	mux.HandleFunc("GET /tables/{table}", s.serveTable)
	mux.HandleFunc("GET /segments/{node}/{epoch}/{sequence}", s.serveSegment)
	return mux
}

// place takes one of the ReadsMax places, which free gives back; without one it waits for as long as patience lasts,
// nil being none, and is api.Overloaded then.
func (s *Service) place(patience <-chan struct{}) (free func(), err error) {
	free = func() { <-s.reads }
	select {
	case s.reads <- struct{}{}:
		return free, nil
	default:
	}
	if patience != nil {
		select {
		case s.reads <- struct{}{}:
			return free, nil
		case <-patience:
		}
	}
	return nil, api.OverloadedError(1000, "%d reads are running on this node", s.cfg.ReadsMax)
}

// refuse answers with an error in the wire's form.
func (s *Service) refuse(w http.ResponseWriter, e *api.Error) {
	if e.Name == api.Overloaded {
		w.Header().Set("Retry-After", strconv.Itoa((e.RetryAfterMS+999)/1000))
	}
	s.answer(w, e.Code, e)
}

func (s *Service) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set(api.HeaderContentType, api.TypeJSON)
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.deps.Logger.Debug("client did not take its answer", "error", err)
	}
}

func (s *Service) serveTables(w http.ResponseWriter, _ *http.Request) {
	problems := s.Standing()
	tables := s.tables.Tables()
	for i := range tables {
		if err := problems[tables[i].Name]; err != nil {
			tables[i].Problem = oneLine(err)
			delete(problems, tables[i].Name)
		}
	}
	for name, err := range problems { // those without any transaction here
		tables = append(tables, api.NodeTable{Name: name, Problem: oneLine(err)})
	}
	slices.SortFunc(tables, func(a, b api.NodeTable) int { return cmp.Compare(a.Name, b.Name) })
	s.answer(w, http.StatusOK, api.NodeTables{Tables: tables})
}

// oneLine is an error's text as a table of tables can show it: several errors have a line each.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// rowsQuery is what a read of a table asks for.
type rowsQuery struct {
	table    string
	from, to uint64 // TxIDs, inclusive; to as it was asked for
	format   string
	txid     string        // name of the column of TxIDs, "" for none
	wait     time.Duration // for from to be applied
}

var contentTypes = map[string]string{
	"ndjson": api.TypeNDJSON, "csv": api.TypeCSV + "; charset=utf-8", "arrow": api.TypeArrow,
}

func parseRowsQuery(table, query string) (q rowsQuery, err error) {
	q = rowsQuery{table: table, from: 1, to: 1<<64 - 1, format: "ndjson"}
	// URL.Query would drop what it cannot read: a bound that is ignored is rows nobody asked for.
	v, err := url.ParseQuery(query)
	if err != nil {
		return q, api.Errorf(api.Invalid, "query: %v", err)
	}
	for _, name := range []string{"format", "from_txid", "to_txid", "txid", "txid_column", "wait"} {
		if len(v[name]) > 1 {
			return q, api.Errorf(api.Invalid, "%s is there more than once", name)
		}
	}
	if v.Has("format") {
		q.format = v.Get("format")
	}
	if contentTypes[q.format] == "" {
		return q, api.Errorf(api.Invalid, "format %q is none of ndjson, csv, arrow", q.format)
	}
	for name, value := range map[string]*uint64{"from_txid": &q.from, "to_txid": &q.to} {
		if !v.Has(name) {
			continue
		}
		if *value, err = strconv.ParseUint(v.Get(name), 10, 64); err != nil {
			return q, api.Errorf(api.Invalid, "%s %q is not a TxID", name, v.Get(name))
		}
	}
	q.from = max(q.from, 1)
	if v.Has("wait") {
		if q.wait, err = time.ParseDuration(v.Get("wait")); err != nil || q.wait < 0 {
			return q, api.Errorf(api.Invalid, "wait %q is not a duration like 10s", v.Get("wait"))
		}
	}
	q.txid, err = txidColumn(v)
	return q, err
}

// txidColumn is the name of the column of TxIDs, "" for none: `txid` asks for it, `txid_column` gives it another name,
// for a table that has a column of its own that is called so.
func txidColumn(v url.Values) (string, error) {
	asked := false
	if v.Has("txid") {
		var err error
		if asked, err = strconv.ParseBool(v.Get("txid")); err != nil {
			return "", api.Errorf(api.Invalid, "txid %q is neither 0 nor 1", v.Get("txid"))
		}
	}
	name := "txid"
	if v.Has("txid_column") {
		name = v.Get("txid_column")
		if name == "" || len(name) > api.NameBytesMax || !utf8.ValidString(name) {
			return "", api.Errorf(api.Invalid, "txid_column is not UTF-8 of 1 to %d bytes", api.NameBytesMax)
		}
	}
	if !asked {
		return "", nil
	}
	return name, nil
}

func (s *Service) serveSegment(w http.ResponseWriter, r *http.Request) {
	id, err := api.ParseSegmentKey("wal/" + r.PathValue("node") + "/" + r.PathValue("epoch") + "/" +
		r.PathValue("sequence") + ".seg")
	if err != nil {
		s.refuse(w, api.Errorf(api.Invalid, "%v", err))
		return
	}
	free, err := s.place(nil)
	if err != nil {
		s.refuse(w, api.AsError(err))
		return
	}
	defer free()
	f, err := s.deps.FS.Open(segment.Path(s.cfg.SegmentsDir, id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.refuse(w, api.Errorf(api.NotFound, "segment %s is not on this node", id))
		return
	case err != nil:
		s.refuse(w, api.Errorf(api.Unavailable, "segment %s: %v", id, err))
		return
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		s.refuse(w, api.Errorf(api.Unavailable, "segment %s: %v", id, err))
		return
	}
	w.Header().Set(api.HeaderContentType, "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(f, 0, size))
}
