package gateway

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// Errors quote the input that is wrong, which may be megabytes of one word. What is said of it must
// fit into an answer: one that is too large for NATS is never sent, and its writer never told.
const (
	messageBytesMax = 1000
	// messageBytesMin is for an answer of so many refused tables that it does not fit otherwise.
	messageBytesMin = 40
	// headerRoom is what the headers of an answer take of the payload that NATS allows.
	headerRoom = 4 * messageBytesMax
)

// brief shortens an error's message and table. A name that no table can have is input, too.
func brief(e *api.Error, bytesMax int) *api.Error {
	if len(e.Message) <= bytesMax && len(e.Table) <= api.NameBytesMax {
		return e
	}
	c := *e
	c.Message, c.Table = clip(e.Message, bytesMax), clip(e.Table, api.NameBytesMax)
	return &c
}

// clip shortens text in its middle: a message begins with the place and ends with the reason.
func clip(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	head, tail := bytesMax/2, len(text)-bytesMax/2
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + " … " + text[tail:]
}

func briefResults(results []api.WriteResult, bytesMax int) []api.WriteResult {
	out := append([]api.WriteResult(nil), results...)
	for i := range out {
		if out[i].Error != nil {
			out[i].Error = brief(out[i].Error, bytesMax)
			out[i].Table = clip(out[i].Table, api.NameBytesMax)
		}
	}
	return out
}

// refusedResults is the JSON of an answer that has errors, within limit bytes: 10,000 tables with
// names of 127 bytes fit into 8 MB.
func refusedResults(results []api.WriteResult, limit int64) []byte {
	body := appendJSON(api.WriteAnswer{Results: briefResults(results, messageBytesMax)})
	if int64(len(body)) > limit {
		body = appendJSON(api.WriteAnswer{Results: briefResults(results, messageBytesMin)})
	}
	return body
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
