//go:build unix

package processes

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestDeniedUser: what is written is a configuration that a server takes, and it takes from one user the right to
// speak to the sequencer.
func TestDeniedUser(t *testing.T) {
	s := &natsServer{name: "nats1", port: 4222, clusterPort: 6222, allClusterPorts: []int{6222, 6223}}
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(s.text([]string{"p1", "p2"}, []string{"p2"})), 0o644); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(opts.Users) != 3 || opts.NoAuthUser != anyUser || !opts.Cluster.NoAdvertise || len(opts.Routes) != 2 {
		t.Fatalf("%+v", opts)
	}
	for _, u := range opts.Users {
		if denied := u.Permissions != nil && len(u.Permissions.Publish.Deny) == 2; denied != (u.Username == "p2") {
			t.Fatalf("user %s: %+v", u.Username, u.Permissions)
		}
	}
}
