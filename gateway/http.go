package gateway

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Handler serves POST /write, and passes GET /tables and /tables/{table} on to a node.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /write", s.serveWrite)
	mux.HandleFunc("GET /tables", s.serveRead)
	mux.HandleFunc("GET /tables/{table}", s.serveRead)
	return mux
}

// errPrecision names the units of line protocol's timestamps.
var errPrecision = api.Errorf(api.Invalid, "precision must be one of n, ns, u, us, ms, s, m, h")

func precision(q url.Values) (int64, *api.Error) {
	values, ok := q["precision"]
	if !ok {
		return 1, nil
	}
	if len(values) != 1 {
		return 0, errPrecision
	}
	switch values[0] {
	case "n", "ns":
		return 1, nil
	case "u", "us":
		return int64(time.Microsecond), nil
	case "ms":
		return int64(time.Millisecond), nil
	case "s":
		return int64(time.Second), nil
	case "m":
		return int64(time.Minute), nil
	case "h":
		return int64(time.Hour), nil
	}
	return 0, errPrecision
}

// serveWrite is POST /write: line protocol of any tables, whatever the Content-Type says.
func (s *Service) serveWrite(w http.ResponseWriter, r *http.Request) {
	answered := make(chan func(http.ResponseWriter), 1)
	a := &httpAnswerer{s: s, answered: answered}
	req, err := s.readWrite(w, r, a)
	if err != nil {
		s.metrics.outcome(err)
		writeError(w, err)
		return
	}
	s.take(req, overHTTP)
	select {
	case answer := <-answered:
		answer(w)
	case <-r.Context().Done(): // the client left; the write goes on, and its outcome is unknown to it
	}
}

func (s *Service) readWrite(w http.ResponseWriter, r *http.Request, a answerer) (*request, *api.Error) {
	q, bad := url.ParseQuery(r.URL.RawQuery)
	if bad != nil {
		return nil, api.Errorf(api.Invalid, "query: %v", bad)
	}
	unit, err := precision(q)
	if err != nil {
		return nil, err
	}
	o, err := decodeHeaders(r.Header, s.cfg.Durability, true)
	if err != nil {
		return nil, err
	}
	size := r.ContentLength
	if size > int64(s.cfg.RequestBytesMax) {
		return nil, s.bodyTooLarge()
	}
	if size < 0 {
		size = int64(s.cfg.RequestBytesMax)
	}
	// The body counts while it arrives: slow senders must not pile up unseen.
	if !s.held.take(size) {
		return nil, s.noRoom()
	}
	defer s.held.drop(size)
	data, bad := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.cfg.RequestBytesMax)))
	if tooLarge := new(http.MaxBytesError); errors.As(bad, &tooLarge) {
		return nil, s.bodyTooLarge()
	}
	if bad != nil {
		return nil, api.Errorf(api.Invalid, "read the body: %v", bad)
	}
	return &request{options: o, data: data, precision: unit, arrived: time.Now(), answerer: a}, nil
}

func (s *Service) bodyTooLarge() *api.Error {
	return api.Errorf(api.TooLarge, "the body is larger than %d bytes", s.cfg.RequestBytesMax)
}

// httpAnswerer hands the answer to the request's own goroutine.
type httpAnswerer struct {
	s        *Service
	answered chan<- func(http.ResponseWriter)
}

func (a *httpAnswerer) results(results []api.WriteResult) {
	bad := worst(results)
	body := appendResults(nil, results, math.MaxInt64)
	a.answered <- func(w http.ResponseWriter) {
		if bad != nil {
			writeBody(w, bad, body)
			return
		}
		if len(results) == 1 {
			w.Header().Set(api.HeaderTxID, strconv.FormatUint(results[0].TxID, 10))
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *httpAnswerer) refused(e *api.Error) {
	a.answered <- func(w http.ResponseWriter) { writeError(w, e) }
}

func (a *httpAnswerer) empty() {
	a.answered <- func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }
}

func writeError(w http.ResponseWriter, e *api.Error) {
	writeBody(w, e, appendJSON(e))
}

func writeBody(w http.ResponseWriter, e *api.Error, body []byte) {
	h := w.Header()
	h.Set(api.HeaderContentType, api.TypeJSON)
	h.Set(api.HeaderErrorCode, strconv.Itoa(e.Code))
	h.Set(api.HeaderError, e.Description())
	if e.RetryAfterMS > 0 {
		h.Set("Retry-After", strconv.Itoa((e.RetryAfterMS+999)/1000))
	}
	w.WriteHeader(e.Code)
	// The client may be gone; there is nobody else to tell.
	_, _ = w.Write(append(body, '\n'))
}

// serveRead passes a read on to ?node=ID, else to the node that is furthest ahead.
func (s *Service) serveRead(w http.ResponseWriter, r *http.Request) {
	q, bad := url.ParseQuery(r.URL.RawQuery)
	if bad != nil { // the proxy would pass on what it can read, and drop the rest
		writeError(w, api.Errorf(api.Invalid, "query: %v", bad))
		return
	}
	addr, err := s.routes.address(q.Get("node"))
	if err != nil {
		writeError(w, err)
		return
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "http", addr
	s.proxy.ServeHTTP(w, out)
}

// newProxy streams: what a node has sent is passed on at once, and a stream that breaks off there
// breaks off here.
func (s *Service) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.Out.Host = "" },
		Transport:     s.deps.Transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			writeError(w, api.Errorf(api.Unavailable, "the node at %s does not answer: %v", r.URL.Host, err))
		},
	}
}
