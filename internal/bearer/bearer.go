// Package bearer is who may use a process's HTTP endpoints: tokens as in RFC 6750, each with what it allows.
package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// Scope is what a token allows.
type Scope string

// The scopes. A token for metrics is asked for only where some token has that scope, so that Prometheus needs none
// otherwise.
const (
	Read    Scope = "read"
	Write   Scope = "write"
	Metrics Scope = "metrics"
)

// Tokens are those that a process accepts. nil accepts everybody.
type Tokens struct {
	all []token
}

// token is kept as its SHA-256: those of equal length are compared without telling by time where they differ.
type token struct {
	sum    [sha256.Size]byte
	scopes []Scope
}

// lengthMin is of a token that nobody guesses: 128 random bits in base 64 are 22 characters.
const lengthMin = 20

var syntax = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Parse reads tokens, one a line: its scopes with commas between them, white space, the token. What follows a # at the
// beginning of a line is not read. An error names the line and never what is in it.
func Parse(text string) (*Tokens, error) {
	t := new(Tokens)
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d: want scopes and a token, as in: read,write TOKEN", n)
		}
		one := token{sum: sha256.Sum256([]byte(fields[1]))}
		for name := range strings.SplitSeq(fields[0], ",") {
			scope := Scope(name)
			if scope != Read && scope != Write && scope != Metrics {
				return nil, fmt.Errorf("line %d: the scopes are read, write and metrics", n)
			}
			one.scopes = append(one.scopes, scope)
		}
		if err := CheckToken(fields[1]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		t.all = append(t.all, one)
	}
	if len(t.all) == 0 {
		return nil, fmt.Errorf("no tokens: nobody could read or write")
	}
	return t, nil
}

// CheckToken says why a token cannot be one, or nil. It does not quote it.
func CheckToken(token string) error {
	if len(token) < lengthMin || !syntax.MatchString(token) {
		return fmt.Errorf("a token has at least %d of A-Z a-z 0-9 - . _ ~ + / (`openssl rand -hex 32` makes one)", lengthMin)
	}
	return nil
}

// Guards says whether a token is needed for scope.
func (t *Tokens) Guards(scope Scope) bool {
	return t != nil && (scope != Metrics || slices.ContainsFunc(t.all, func(o token) bool { return o.may(Metrics) }))
}

func (o token) may(scope Scope) bool { return slices.Contains(o.scopes, scope) }

// Check returns nil if the request has a token for scope, or needs none; else Unauthorized, or Forbidden if its token is
// for something else. How long it takes depends neither on the tokens nor on which one it was.
func (t *Tokens) Check(r *http.Request, scope Scope) *api.Error {
	if !t.Guards(scope) {
		return nil
	}
	given := r.Header.Values("Authorization")
	if len(given) != 1 {
		return api.Errorf(api.Unauthorized, "a bearer token is needed here, once: Authorization: Bearer TOKEN")
	}
	scheme, text, _ := strings.Cut(given[0], " ")
	sum := sha256.Sum256([]byte(text))
	known, may := 0, 0
	for _, o := range t.all {
		same := subtle.ConstantTimeCompare(sum[:], o.sum[:])
		known |= same
		if o.may(scope) {
			may |= same
		}
	}
	switch {
	case known == 0 || !strings.EqualFold(scheme, "Bearer"):
		return api.Errorf(api.Unauthorized, "the bearer token is not one of this cluster's")
	case may == 0:
		return api.Errorf(api.Forbidden, "the bearer token is not for this: it takes one with scope %s", scope)
	}
	return nil
}

// Require passes on what has a token for the scope that its method needs: GET and HEAD read, all others write.
func (t *Tokens) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := Write
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			scope = Read
		}
		t.serve(w, r, scope, next)
	})
}

// RequireMetrics passes on what has a token with that scope, if there are any such.
func (t *Tokens) RequireMetrics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.serve(w, r, Metrics, next) })
}

func (t *Tokens) serve(w http.ResponseWriter, r *http.Request, scope Scope, next http.Handler) {
	err := t.Check(r, scope)
	if err == nil {
		next.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	if err.Name == api.Unauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	h.Set("Connection", "close") // what else it sends is not waited for
	h.Set(api.HeaderContentType, api.TypeJSON)
	h.Set(api.HeaderErrorCode, strconv.Itoa(err.Code))
	h.Set(api.HeaderError, err.Description())
	w.WriteHeader(err.Code)
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(err)
}

// Set puts a token into a request; "" is none.
func Set(r *http.Request, token string) {
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
}
