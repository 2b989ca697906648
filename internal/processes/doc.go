// Package processes runs a cluster in which every service is a process of its own, over TCP: each under a supervisor
// that starts it again when it has ended, as systemd would. Its user may kill, stop and pause processes, cut their
// links to NATS and to the object store, and take the right to speak to the sequencer from one of them.
//
// It decides nothing about when and whom to hurt: that is for internal/faults, whose tests judge what came of it, and
// for the harness, which measures.
//
//	              ┌ proxy ┐
//	NATS servers ─┤  per  ├─ sequencers, failover services, nodes, gateways
//	              └ link  ┘                                 │
//	                                              proxy ────┘
//	                                                └─ S3 server (or a folder)
//
// Where nobody will cut a link there is no proxy, so that a measurement does not pay for one.
package processes
