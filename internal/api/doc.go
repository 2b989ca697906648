// Package api is what Braid's services say to each other and to clients: subjects, headers, messages, errors,
// names and limits. It holds no behaviour beyond encoding, checking and naming, so that everybody may import it.
//
// What outside clients see (subjects, headers, JSON bodies, error codes) is described in docs/formats/wire.md;
// what is stored (group headers, log records) in docs/formats/segment.md and docs/formats/store.md.
package api
