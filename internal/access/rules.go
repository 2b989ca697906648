package access

import (
	"slices"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// Role is a set of rights. A user may have several.
type Role string

// The roles of applications, of people, and of services.
const (
	Producer   Role = "producer"  // publishes rows of its tables and hears its answers
	SDK        Role = "sdk"       // a producer that numbers its writes: the Go SDK through gateways
	Direct     Role = "direct"    // the SDK that sends groups to primaries itself: it may write any table
	Reader     Role = "reader"    // finds tables and nodes, compares digests; rows come over HTTP
	Operator   Role = "operator"  // a reader that may also drain, promote, demote, remove and void
	Gateway    Role = "gateway"   // the service of that name
	Node       Role = "node"      // a primary or replica; with an ID, that node only
	Sequencer  Role = "sequencer" // the service of that name
	Failover   Role = "failover"  // the service of that name
	AnyService Role = "service"   // all four services, as of any ID
)

// Roles are all roles, as documentation lists them.
func Roles() []Role {
	return []Role{Producer, SDK, Direct, Reader, Operator, Gateway, Node, Sequencer, Failover, AnyService}
}

// includes has the roles whose rights a role has besides its own.
var includes = map[Role][]Role{
	SDK: {Producer}, Direct: {SDK}, Operator: {Reader}, AnyService: {Gateway, Node, Sequencer, Failover},
}

// has says whether a user with these roles has role, or one that includes it.
func has(roles []Role, role Role) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return r == role || has(includes[r], role) })
}

// rule is who may publish on a subject of api.Subjects and who may hear it.
type rule struct {
	// method is the name in api.Subjects: a test wants exactly one rule for each of its methods.
	method string
	// subjects gives what the method names, as of the node or instance id, `*` for any.
	subjects  func(s api.Subjects, id string) string
	publish   []Role
	subscribe []Role
	// own: the speaker, or else the listener, uses the subject of its own id only.
	speakerOwn, listenerOwn bool
}

// the makes a rule's subjects of a method without arguments.
func the(subject func(api.Subjects) string) func(api.Subjects, string) string {
	return func(s api.Subjects, _ string) string { return subject(s) }
}

// eachShard makes a rule's subjects of a method that takes a shard.
func eachShard(subject func(api.Subjects, int) string) func(api.Subjects, string) string {
	return func(s api.Subjects, _ string) string { return strings.TrimSuffix(subject(s, 0), "0") + "*" }
}

type roles = []Role

// rules are all rights but those to write into named tables (User.ingest), to hear answers and to be discovered. Nobody
// has a right that the code of its role does not use.
var rules = []rule{
	{method: "PrimaryWrite", subjects: api.Subjects.PrimaryWrite, listenerOwn: true,
		publish: roles{Direct, Gateway}, subscribe: roles{Node}},
	{method: "NodeInfo", subjects: api.Subjects.NodeInfo, listenerOwn: true,
		publish: roles{Reader, Failover}, subscribe: roles{Node}},
	{method: "NodeDrain", subjects: api.Subjects.NodeDrain, listenerOwn: true,
		publish: roles{Operator}, subscribe: roles{Node}},
	{method: "NodeDigest", subjects: api.Subjects.NodeDigest, listenerOwn: true,
		publish: roles{Reader}, subscribe: roles{Node}},
	{method: "NodeHold", subjects: api.Subjects.NodeHold, listenerOwn: true,
		publish: roles{Node, Operator}, subscribe: roles{Node}},

	{method: "Commit", subjects: eachShard(api.Subjects.Commit), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "Log", subjects: eachShard(api.Subjects.Log), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "Heads", subjects: the(api.Subjects.Heads), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "Schema", subjects: the(api.Subjects.Schema),
		publish: roles{Direct, Gateway, Node}, subscribe: roles{Sequencer}},
	{method: "Tables", subjects: the(api.Subjects.Tables), publish: roles{SDK, Reader}, subscribe: roles{Sequencer}},
	{method: "SequencerAlive", subjects: api.Subjects.SequencerAlive, speakerOwn: true,
		publish: roles{Sequencer}, subscribe: roles{Sequencer}},

	{method: "RegisterNode", subjects: the(api.Subjects.RegisterNode), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "NodeState", subjects: the(api.Subjects.NodeState), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "FailNode", subjects: the(api.Subjects.FailNode), publish: roles{Failover}, subscribe: roles{Sequencer}},
	{method: "StandIn", subjects: the(api.Subjects.StandIn), publish: roles{Failover}, subscribe: roles{Sequencer}},
	{method: "Promote", subjects: the(api.Subjects.Promote), publish: roles{Operator}, subscribe: roles{Sequencer}},
	{method: "Demote", subjects: the(api.Subjects.Demote), publish: roles{Operator}, subscribe: roles{Sequencer}},
	{method: "Remove", subjects: the(api.Subjects.Remove), publish: roles{Operator}, subscribe: roles{Sequencer}},
	{method: "Lease", subjects: the(api.Subjects.Lease), publish: roles{Failover}, subscribe: roles{Sequencer}},
	{method: "RegisterProducer", subjects: the(api.Subjects.RegisterProducer),
		publish: roles{SDK, Gateway}, subscribe: roles{Sequencer}},
	{method: "RenewProducer", subjects: the(api.Subjects.RenewProducer),
		publish: roles{SDK, Gateway}, subscribe: roles{Sequencer}},
	{method: "TopologyGet", subjects: the(api.Subjects.TopologyGet),
		publish: roles{SDK, Reader, Gateway, Node, Failover}, subscribe: roles{Sequencer}},
	{method: "SegmentState", subjects: the(api.Subjects.SegmentState), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "Confirm", subjects: the(api.Subjects.Confirm), publish: roles{Node}, subscribe: roles{Sequencer}},
	{method: "Void", subjects: the(api.Subjects.Void), publish: roles{Operator}, subscribe: roles{Sequencer}},
	{method: "Pending", subjects: the(api.Subjects.Pending), publish: roles{Reader, Node}, subscribe: roles{Sequencer}},

	{method: "Heartbeat", subjects: api.Subjects.Heartbeat, speakerOwn: true,
		publish: roles{Node}, subscribe: roles{Direct, Reader, Gateway, Node, Failover}},
	{method: "Commits", subjects: eachShard(api.Subjects.Commits), publish: roles{Sequencer}, subscribe: roles{Node}},
	{method: "Topology", subjects: the(api.Subjects.Topology),
		publish: roles{Sequencer, Failover}, subscribe: roles{SDK, Reader, Gateway, Node, Failover}},
}
