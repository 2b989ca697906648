// Package conformance has no code of its own: its tests start a whole cluster and hold it, as a
// suspicious client outside would, to what the design and the wire's page promise. They speak NATS
// and HTTP, and know of Braid only the names on the wire.
package conformance
