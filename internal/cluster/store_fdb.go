//go:build fdb

package cluster

import (
	"strings"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb"
)

// openFDB opens CLUSTER_FILE or CLUSTER_FILE?prefix=NAME.
func openFDB(spec string) (kv.Store, error) {
	file, prefix, _ := strings.Cut(spec, "?prefix=")
	return fdb.Open(fdb.Options{ClusterFile: file, Prefix: prefix})
}
