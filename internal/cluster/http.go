package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
)

// HTTP is how the services of a process serve HTTP and ask others over it. The zero value is plain and open to all.
type HTTP struct {
	Serve  *tls.Config    // with it every port speaks TLS and nothing else
	Trust  *tls.Config    // for asking nodes that do; nil trusts what the system trusts
	Tokens *bearer.Tokens // asked of whoever reads and writes; nil lets everybody
	Token  string         // sent to other nodes; "": none
}

const (
	// shutdownTimeout bounds how long open HTTP requests may go on once a service stops.
	shutdownTimeout = 5 * time.Second
	// headerTimeout is for the head of a request, and for the handshake before it.
	headerTimeout = 10 * time.Second
	// headerBytesMax bounds a request's head. The longest that anybody needs has a token and a query.
	headerBytesMax = 64 << 10
	// bodyTimeout is for a body that no handler reads: a sender that trickles would hold its connection for ever. Rows
	// have a limit of their own (gateway.Config.BodyTimeout).
	bodyTimeout = 30 * time.Second
	// sendTimeout is how long a client may take nothing of its answer. Reads of rows have their own.
	sendTimeout = time.Minute
	idleTimeout = 2 * time.Minute
)

// listen opens a TCP port; port 0 picks a free one.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w (--http picks another address, port 0 any free port)", addr, err)
	}
	return l, nil
}

// at is the address of a port as others are told it.
func (h HTTP) at(address string) string {
	if h.Serve != nil && !strings.HasPrefix(address, api.HTTPSPrefix) {
		return api.HTTPSPrefix + address
	}
	return address
}

// transport carries reads to nodes. An answer may take its time, for a read may wait for rows; whoever asks for it bounds
// that.
func (h HTTP) transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: headerTimeout}).DialContext,
		TLSClientConfig:     h.Trust,
		TLSHandshakeTimeout: headerTimeout,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     idleTimeout / 2, // before the node closes it
	}
}

// mux serves what every process serves: /metrics, /healthz and /readyz, and everything else by handler (nil: 404). All
// but the two questions how it is may need a token.
func (e Env) mux(ready func() error, handler http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.HTTP.Tokens.RequireMetrics(
		promhttp.HandlerFor(e.Registry, promhttp.HandlerOpts{Registry: e.Registry})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if handler != nil {
		mux.Handle("/", e.HTTP.Tokens.Require(handler))
	}
	return patient(mux)
}

// serve answers HTTP on l until ctx ends; requests that are open then may finish.
func (e Env) serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
		ErrorLog: slog.NewLogLogger(e.Logger.Handler(), slog.LevelWarn),
		// One request a connection at a time is all that is needed, and what the deadlines of patient are made for.
		Protocols: new(http.Protocols), TLSConfig: e.HTTP.Serve,
	}
	server.Protocols.SetHTTP1(true)
	failed := make(chan error, 1)
	go func() {
		if e.HTTP.Serve != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(bound)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // a reader that never ends must not keep the process
	}
	<-failed
	return err
}

// patient gives every request deadlines that move while something moves, which the server's own do not: an answer may be
// as long as it likes, but each piece of it must be taken in time.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &mover{ResponseWriter: w, control: http.NewResponseController(w)}
		if r.ContentLength != 0 {
			// Of a connection that is gone the handler will hear by itself.
			_ = m.control.SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		m.move()
		defer m.move() // what is buffered leaves when the handler has returned
		next.ServeHTTP(m, r)
	})
}

// mover moves the deadline of an answer with each piece of it.
type mover struct {
	http.ResponseWriter
	control *http.ResponseController
}

// move fails where there is no connection, as in tests, or it is gone, which the next write tells.
func (m *mover) move() { _ = m.control.SetWriteDeadline(time.Now().Add(sendTimeout)) }

func (m *mover) Write(b []byte) (int, error) {
	m.move()
	return m.ResponseWriter.Write(b)
}

// Unwrap lets handlers flush, and set deadlines of their own.
func (m *mover) Unwrap() http.ResponseWriter { return m.ResponseWriter }
