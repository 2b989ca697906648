package gateway

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
)

const (
	// messageBytesMin is what is left of each message in an answer of so many refused tables that it does
	// not fit otherwise.
	messageBytesMin = 40
	// headerRoom is what the headers of an answer take of the payload that NATS allows.
	headerRoom = 4 * api.MessageBytesMax
)

// refusedResults is the JSON of an answer that has errors, within limit bytes: 10,000 tables with
// names of 127 bytes fit into 8 MB.
func refusedResults(results []api.WriteResult, limit int64) []byte {
	// A name that no table can have is input, too.
	results = slices.Clone(results)
	for i := range results {
		results[i].Table = api.Clip(results[i].Table, api.NameBytesMax)
	}
	body := appendJSON(api.WriteAnswer{Results: results})
	if int64(len(body)) <= limit {
		return body
	}
	for i := range results {
		if e := results[i].Error; e != nil {
			short := *e
			short.Message = api.Clip(e.Message, messageBytesMin)
			results[i].Error = &short
		}
	}
	return appendJSON(api.WriteAnswer{Results: results})
}

// appendJSON leaves < > & as they are: a name of them would be six times as long.
func appendJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // no such type is given to it
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
