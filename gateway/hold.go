package gateway

import "sync"

// holding bounds what the gateway has in memory for requests without an answer. It is safe for
// concurrent use.
type holding struct {
	bytesMax    int64
	requestsMax int

	mu       sync.Mutex
	closed   bool // nothing more is taken
	bytes    int64
	requests int
	idle     chan struct{} // closed when nothing is held; nil unless somebody waits for that
}

// take counts a request, and says whether there was room for it.
func (h *holding) take(bytes int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.requests >= h.requestsMax || h.bytes+bytes > h.bytesMax {
		return false
	}
	h.requests++
	h.bytes += bytes
	return true
}

// grow counts more bytes for a request that is held, and says whether there was room. A request
// that is alone always has room: it cannot become smaller by coming later.
func (h *holding) grow(bytes int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes > 0 && h.requests > 1 && h.bytes+bytes > h.bytesMax {
		return false
	}
	h.bytes += bytes
	return true
}

// drop takes a request off again, with all its bytes.
func (h *holding) drop(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests--
	h.bytes -= bytes
	if h.requests == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// setClosed says whether anything more is taken.
func (h *holding) setClosed(closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = closed
}

func (h *holding) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// empty returns a channel that is closed as soon as nothing is held.
func (h *holding) empty() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.requests == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	return h.idle
}

func (h *holding) sizes() (bytes int64, requests int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes, h.requests
}
