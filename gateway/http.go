package gateway

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
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
	req, size, err := s.readHead(r)
	// The body counts while it arrives: slow senders must not pile up unseen.
	if err == nil && !s.held.take(size) {
		err = s.noRoom()
	}
	if err != nil {
		if err.Name != api.TooLarge {
			s.discard(w, r)
		}
		return nil, err
	}
	defer s.held.drop(size)
	var data bytes.Buffer
	if r.ContentLength > 0 {
		data.Grow(int(size) + bytes.MinRead)
	}
	bad := s.readBody(&data, w, r)
	if tooLarge := new(http.MaxBytesError); errors.As(bad, &tooLarge) {
		return nil, s.bodyTooLarge()
	}
	if bad != nil {
		return nil, api.Errorf(api.Invalid, "read the body: %v", bad)
	}
	req.data, req.arrived, req.answerer = data.Bytes(), time.Now(), a
	return req, nil
}

// readHead reads all but the body, and says how large that may be.
func (s *Service) readHead(r *http.Request) (req *request, size int64, err *api.Error) {
	q, bad := url.ParseQuery(r.URL.RawQuery)
	if bad != nil {
		return nil, 0, api.Errorf(api.Invalid, "query: %v", bad)
	}
	unit, err := precision(q)
	if err != nil {
		return nil, 0, err
	}
	o, err := decodeHeaders(r.Header, s.cfg.Durability, true)
	if err != nil {
		return nil, 0, err
	}
	if size = r.ContentLength; size < 0 {
		size = int64(s.cfg.RequestBytesMax)
	}
	if size > int64(s.cfg.RequestBytesMax) {
		return nil, 0, s.bodyTooLarge()
	}
	return &request{options: o, precision: unit}, size, nil
}

// discard takes the rest of a body off the connection. Who is still sending would not hear the answer: the connection is
// closed under him.
func (s *Service) discard(w http.ResponseWriter, r *http.Request) {
	if err := s.readBody(io.Discard, w, r); err != nil {
		s.log.Debug("the sender of a refused body may not hear of it", "error", err)
	}
}

// readBody copies all of a body, in time: one that trickles in would hold its room for ever.
func (s *Service) readBody(to io.Writer, w http.ResponseWriter, r *http.Request) error {
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout)); err != nil {
		return err
	}
	if _, err := io.Copy(to, http.MaxBytesReader(w, r.Body, int64(s.cfg.RequestBytesMax))); err != nil {
		return err
	}
	return c.SetReadDeadline(time.Time{}) // of the connection, on which more may come
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
	out.URL.Scheme, out.URL.Host, _ = strings.Cut(api.HTTPURL(addr), "://")
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
