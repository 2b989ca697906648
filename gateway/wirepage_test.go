package gateway_test

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/gateway"
)

// TestWirePage runs the examples of docs/formats/wire.md, so that the page cannot drift from the
// program. An example is a code block of lines `> ` (subject, headers, an empty line, payload) and
// `< ` (headers of the answer, an empty line, and pieces of its body in their order).
func TestWirePage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	examples := 0
	for _, block := range strings.Split(string(page), "```\n") {
		if strings.HasPrefix(block, "> ") {
			examples++
			runExample(t, r, block)
		}
	}
	if examples < 5 {
		t.Fatalf("%d examples were found", examples)
	}
}

func runExample(t *testing.T, r *running, block string) {
	t.Helper()
	var sent, got []string
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, ">"); ok {
			sent = append(sent, strings.TrimPrefix(rest, " "))
		} else if rest, ok := strings.CutPrefix(line, "<"); ok {
			got = append(got, strings.TrimPrefix(rest, " "))
		} else {
			t.Fatalf("what is %q in an example?", line)
		}
	}
	header, payload := splitMessage(t, sent[1:])
	msg := r.request(sent[0], header, []byte(strings.Join(payload, "\n")))
	want, pieces := splitMessage(t, got)
	for name := range want {
		if msg.Header.Get(name) != want.Get(name) {
			t.Errorf("%q: header %s is %q", payload, name, msg.Header.Get(name))
		}
	}
	body := string(msg.Data)
	for _, piece := range pieces {
		_, rest, ok := strings.Cut(body, piece)
		if !ok {
			t.Errorf("%q: the answer %s lacks %s", payload, msg.Data, piece)
			return
		}
		body = rest
	}
	if body != "" {
		t.Errorf("%q: the answer goes on with %s", payload, body)
	}
}

func splitMessage(t *testing.T, lines []string) (nats.Header, []string) {
	t.Helper()
	header := nats.Header{}
	for i, line := range lines {
		if line == "" {
			return header, lines[i+1:]
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%q is no header", line)
		}
		header.Set(name, value)
	}
	t.Fatalf("no empty line in %q", lines)
	return nil, nil
}
