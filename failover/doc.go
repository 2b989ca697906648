// Package failover will watch heartbeats, fence a dead node, promote the best replica and take the failed node back.
//
// It is not built yet. Until it is, a node goes live by a transaction that it asks for itself (internal/member), a
// dead primary is gone round by gateways (internal/topology), and its next start registers under a new epoch, which
// fences the old one.
package failover
