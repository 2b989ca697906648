package objstore

import (
	"net/http"
	"testing"
)

// TestAway: a store that cannot be reached or is not in order is worth waiting for, one that refuses is not.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		away   bool
	}{
		{503, "SlowDown", true}, {500, "InternalError", true}, {501, "NotImplemented", false},
		{403, "AccessDenied", false}, {404, "NoSuchBucket", false},
	} {
		s := dictated(t, testLimits, func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.code) })
		if err := s.probe(t.Context()); err == nil || Away(err) != c.away {
			t.Errorf("%s: away %t: %v", c.code, Away(err), err)
		}
	}
	for endpoint, away := range map[string]bool{"http://127.0.0.1:1": true, "127.0.0.1:9000": false} {
		if _, err := openS3(t.Context(), "bucket", S3Config{Endpoint: endpoint}, testLimits); err == nil || Away(err) != away {
			t.Errorf("%s: away %t: %v", endpoint, Away(err), err)
		}
	}
	if _, err := Open(t.Context(), "nosuch:thing", S3Config{}); Away(err) {
		t.Errorf("away: %v", err)
	}
}
