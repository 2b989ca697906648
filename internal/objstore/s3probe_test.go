package objstore

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestI9_ProbesOfServersThatWillNotDo: each answers the probe's requests in one wrong way.
func TestI9_ProbesOfServersThatWillNotDo(t *testing.T) {
	const first = "put first\n"
	for _, test := range []struct {
		name   string
		put    [2]int // statuses of the two puts
		get    string // what is read back
		absent int    // status of looking for what is not there
		want   string
	}{
		{"a good one", [2]int{200, 412}, first, 404, ""},
		{"the first answer was lost", [2]int{412, 412}, first, 404, ""},
		{"it replaces", [2]int{200, 200}, first, 404, "ignores If-None-Match"},
		{"it refuses conditions", [2]int{501, 501}, first, 404, "conditional writes are needed"},
		{"it fails at the second", [2]int{200, 500}, first, 404, "again: "},
		{"it says taken, and replaces", [2]int{200, 412}, "put other\n", 404, ErrDifferent.Error()},
		{"it does not tell what is not there", [2]int{200, 412}, first, 403, "s3:ListBucket"},
		{"it finds what is not there", [2]int{200, 412}, first, 200, "it is there"},
	} {
		t.Run(test.name, func(t *testing.T) {
			puts, key := 0, ""
			s := dictated(t, testLimits, func(w http.ResponseWriter, r *http.Request) {
				switch r.Method {
				case "PUT":
					data, err := io.ReadAll(r.Body)
					if puts == 0 {
						key = r.URL.Path
					}
					if err != nil || r.URL.Path != key || !strings.HasPrefix(key, "/bucket/.probe/") {
						t.Errorf("put %s %q %v", r.URL.Path, data, err)
					}
					code := map[int]string{412: "PreconditionFailed", 501: "NotImplemented", 500: "InternalError"}
					status := test.put[min(puts, 1)]
					puts++
					if status != 200 {
						refuse(w, status, code[status])
					}
				case "HEAD":
					if r.URL.Path != key {
						w.WriteHeader(test.absent)
						return
					}
					w.Header().Set("Content-Length", "10")
					w.Header().Set("X-Amz-Checksum-Crc32c", checksumOf(first))
				default:
					io.WriteString(w, test.get)
				}
			})
			err := s.probe(t.Context())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if strings.HasPrefix(test.name, "it replaces") && !errors.Is(err, errUnconditional) {
				t.Fatal(err)
			}
		})
	}
}

func TestErrorsHaveHints(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   string
	}{
		{404, "NoSuchBucket", "create the bucket"},
		{403, "AccessDenied", "s3:PutObject"},
		{403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"},
		{403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"},
		{403, "RequestTimeTooSkewed", "clock"},
		{400, "ExpiredToken", "credentials"},
		{400, "AuthorizationHeaderMalformed", "--s3-region eu-north-1"},
		{301, "PermanentRedirect", "--s3-region eu-north-1"},
		{501, "NotImplemented", "conditional writes"},
		{418, "Teapot", "Teapot (HTTP status 418): said the test"},
	} {
		s := dictated(t, testLimits, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
			refuse(w, test.status, test.code)
		})
		err := s.Put(t.Context(), "k", Bytes(nil))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.code, err, test.want)
		}
	}
	s := dictated(t, testLimits, nil)
	must(t, s.Close())
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:1": "is the server running", "https://s3.invalid": "--s3-path-style",
		"127.0.0.1:9000": "not a URL", "ftp://x": "not a URL"} {
		if _, err := openS3(t.Context(), "bucket", S3Config{Endpoint: endpoint}, testLimits); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", endpoint, err, want)
		}
	}
	for name, want := range map[string]string{"/": "no bucket", "b/.x": "prefix", "b//x": "prefix"} {
		if _, err := OpenS3(t.Context(), name, S3Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
