package objstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// These tests are about what a real server does not do on command. Every answer is dictated; what
// a real server answers is TestS3's business.

// testLimits are short: nothing here takes long that is not meant to be too long.
var testLimits = s3Limits{attempts: 3, backoffMax: time.Millisecond, connect: 10 * time.Second,
	answer: 10 * time.Second, silence: 10 * time.Second, call: 10 * time.Second}

// dictated returns a store, which has not probed, on a server that answers as handler does.
func dictated(t *testing.T, limits s3Limits, handler http.HandlerFunc) *S3 {
	t.Helper()
	credentials(t)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s := &S3{limits: limits}
	must(t, s.setUp(t.Context(), "bucket", S3Config{Endpoint: server.URL, PathStyle: true}))
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func credentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

// refuse answers with an error as S3 words it.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said the test</Message></Error>", code)
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func checksumOf(data string) string {
	sum := crc32.New(castagnoli)
	io.WriteString(sum, data)
	return base64.StdEncoding.EncodeToString(sum.Sum(nil))
}

func TestI9_APutOfUnknownOutcomeIsTriedAgainUnderTheSameCondition(t *testing.T) {
	for name, first := range map[string]func(http.ResponseWriter){
		"slow down":         func(w http.ResponseWriter) { refuse(w, 503, "SlowDown") },
		"internal error":    func(w http.ResponseWriter) { refuse(w, 500, "InternalError") },
		"another put's way": func(w http.ResponseWriter) { refuse(w, 409, conflictCode) },
		"bad gateway":       func(w http.ResponseWriter) { w.WriteHeader(502) },
		"no answer":         hangUp,
	} {
		t.Run(name, func(t *testing.T) {
			puts := 0
			s := dictated(t, testLimits, func(w http.ResponseWriter, r *http.Request) {
				puts++
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != "data" || r.Method != "PUT" || r.URL.Path != "/bucket/k" ||
					r.Header.Get("If-None-Match") != "*" ||
					r.Header.Get("X-Amz-Checksum-Crc32c") != checksumOf("data") {
					t.Errorf("request %d: %s %s %q %v, %v", puts, r.Method, r.URL, body, err, r.Header)
				}
				if puts < 3 {
					first(w)
				}
			})
			if err := s.Put(t.Context(), "k", Bytes([]byte("data"))); err != nil || puts != 3 {
				t.Fatalf("%d attempts, then %v", puts, err)
			}
		})
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	requests := 0
	s := dictated(t, testLimits, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		refuse(w, 503, "SlowDown")
	})
	for op, err := range everyCall(t.Context(), s) {
		if err == nil || errors.Is(err, ErrNotFound) || requests != testLimits.attempts {
			t.Errorf("%s: %d requests, then %v", op, requests, err)
		}
		requests = 0
	}
}

// everyCall makes one call of each kind.
func everyCall(ctx context.Context, s *S3) func(yield func(op string, err error) bool) {
	return func(yield func(string, error) bool) {
		_ = yield("put", s.Put(ctx, "k", Bytes([]byte("data")))) &&
			yield("get", errorOf(s.Get(ctx, "k"))) &&
			yield("stat", func() error { _, err := s.Stat(ctx, "k"); return err }()) &&
			yield("list", listError(ctx, s))
	}
}

func errorOf(r io.ReadCloser, _ int64, err error) error {
	if err == nil {
		err = r.Close()
	}
	return err
}

func listError(ctx context.Context, s *S3) (last error) {
	for _, err := range s.List(ctx, "") {
		last = err
	}
	return last
}

func TestACallThatHangsEnds(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the server does not see that the client has gone
		<-r.Context().Done()
	}
	t.Run("by its own time", func(t *testing.T) {
		limits := testLimits
		limits.call = 20 * time.Millisecond
		for op, err := range everyCall(t.Context(), dictated(t, limits, hang)) {
			if err == nil || !strings.Contains(err.Error(), "no success within 20ms") {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
	t.Run("attempt by attempt", func(t *testing.T) {
		limits := testLimits
		limits.answer = 20 * time.Millisecond
		for op, err := range everyCall(t.Context(), dictated(t, limits, hang)) {
			if err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
	t.Run("with its context", func(t *testing.T) {
		s := dictated(t, testLimits, hang)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.Put(ctx, "k", Bytes([]byte("data"))); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestI9_AKeyThatIsTakenIsCompared(t *testing.T) {
	const length, checksum, metadata = "Content-Length", "X-Amz-Checksum-Crc32c", "X-Amz-Meta-" + crcMetadata
	good := fmt.Sprintf("%08x", Bytes([]byte("data")).CRC)
	for _, test := range []struct {
		name string
		head map[string]string
		get  string // the object's bytes, "" if nobody may ask
		want error  // errAny: one that is not final
	}{
		{"the server's checksum is equal", map[string]string{length: "4", checksum: checksumOf("data")}, "", nil},
		{"the server's checksum differs", map[string]string{length: "4", checksum: checksumOf("atad")}, "", ErrDifferent},
		{"the server's counts, not the metadata's",
			map[string]string{length: "4", checksum: checksumOf("atad"), metadata: good}, "", ErrDifferent},
		{"the length differs", map[string]string{length: "5", checksum: checksumOf("data")}, "", ErrDifferent},
		{"the metadata is equal", map[string]string{length: "4", metadata: good}, "", nil},
		{"the metadata differs", map[string]string{length: "4", metadata: "00000000"}, "", ErrDifferent},
		{"a checksum of parts says nothing", map[string]string{length: "4",
			checksum: checksumOf("atad") + "-2", "X-Amz-Checksum-Type": "COMPOSITE", metadata: good}, "", nil},
		{"also if it looks like a whole one", map[string]string{length: "4",
			checksum: checksumOf("atad"), "X-Amz-Checksum-Type": "COMPOSITE", metadata: good}, "", nil},
		{"no checksum, the bytes are equal", map[string]string{length: "4"}, "data", nil},
		{"no checksum, the bytes differ", map[string]string{length: "4"}, "atad", ErrDifferent},
		{"no checksum, the bytes break off", map[string]string{length: "4"}, "dat", errAny},
		{"there is no object", map[string]string{"status": "404"}, "", errAny},
		{"nobody may look", map[string]string{"status": "403"}, "", errAny},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := dictated(t, testLimits, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == "PUT":
					refuse(w, 412, "PreconditionFailed")
				case r.Method == "GET" && test.get != "":
					w.Header().Set(length, "4")
					io.WriteString(w, test.get)
				case r.Method == "HEAD" && test.head["status"] != "":
					w.WriteHeader(map[string]int{"404": 404, "403": 403}[test.head["status"]])
				case r.Method == "HEAD":
					for name, value := range test.head {
						w.Header().Set(name, value)
					}
				default:
					t.Errorf("%s %s", r.Method, r.URL)
				}
			})
			err := s.Put(t.Context(), "k", Bytes([]byte("data")))
			switch {
			case test.want == errAny:
				if err == nil || errors.Is(err, ErrDifferent) || errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			case !errors.Is(err, test.want):
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

var errAny = errors.New("any error that leaves the outcome unknown")

// TestALostAnswerIsNoConflict: the first attempt has stored the object, and the second meets it.
func TestALostAnswerIsNoConflict(t *testing.T) {
	stored := ""
	s := dictated(t, testLimits, func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); {
		case r.Method == "HEAD":
			w.Header().Set("Content-Length", "4")
			w.Header().Set("X-Amz-Checksum-Crc32c", checksumOf(stored))
		case stored != "":
			refuse(w, 412, "PreconditionFailed")
		default:
			stored = string(body)
			hangUp(w)
		}
	})
	if err := s.Put(t.Context(), "k", Bytes([]byte("data"))); err != nil || stored != "data" {
		t.Fatal(stored, err)
	}
}

func TestBrokenBodies(t *testing.T) {
	limits := testLimits
	limits.silence = 50 * time.Millisecond
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   error // nil: any
	}{
		{"short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "short")
		}, io.ErrUnexpectedEOF},
		{"without a length", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, "chunked")
		}, nil},
		{"silent", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "short")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, os.ErrDeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := dictated(t, limits, test.answer)
			r, _, err := s.Get(t.Context(), "k")
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				must(t, r.Close())
			}
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestOnlyAMissingObjectIsNotFound(t *testing.T) {
	for code, want := range map[string]bool{"NoSuchKey": true, "NoSuchBucket": false, "": false} {
		s := dictated(t, testLimits, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, code) })
		_, _, err := s.Get(t.Context(), "k")
		if err == nil || errors.Is(err, ErrNotFound) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}
