package access

import (
	"reflect"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestEverySubjectHasARule: a subject that is added to api.Subjects is somebody's to publish on and to hear, or nobody
// could use it where users have rights. Rows have their own.
func TestEverySubjectHasARule(t *testing.T) {
	ruled := map[string]int{"Ingest": 1, "IngestTable": 1, "PrimaryIngest": 1, "PrimaryIngestTable": 1, "ParseIngest": 1}
	for _, r := range rules {
		ruled[r.method]++
		if len(r.publish) == 0 || len(r.subscribe) == 0 {
			t.Errorf("%s has no speaker or no listener", r.method)
		}
	}
	methods := reflect.TypeFor[api.Subjects]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		if ruled[name] != 1 {
			t.Errorf("api.Subjects.%s has %d rules", name, ruled[name])
		}
		delete(ruled, name)
	}
	for name := range ruled {
		t.Errorf("there is a rule for %s, which api.Subjects does not have", name)
	}
}
