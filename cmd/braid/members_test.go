package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestConfirm: only the word is a yes; the end of the input is none, and says how a script answers.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]string{
		"p1\n": "", " p1 \n": "", "p1": "", "\n": "nothing was changed", "y\n": "nothing was changed",
		"p11\n": "nothing was changed", "P1\n": "nothing was changed", "": "--yes",
	} {
		var asked bytes.Buffer
		p := &process{stdin: strings.NewReader(answer), stderr: &asked}
		err := confirmFlag{}.confirm(p, "It is gone.", "p1")
		if got := err == nil; got != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", answer, err)
		}
		if !strings.HasPrefix(asked.String(), "It is gone. Type p1 to go on:") {
			t.Errorf("asked %q", asked.String())
		}
	}
	if err := (confirmFlag{Yes: true}).confirm(&process{}, "x", "p1"); err != nil {
		t.Error(err)
	}
}

// TestRemovalNamesTheStandIn: who removes a dead primary learns that its stand-in stays.
func TestRemovalNamesTheStandIn(t *testing.T) {
	p1 := api.Node{ID: "p1", Role: api.Primary, State: api.Dead}
	text := removal(api.Topology{Nodes: []api.Node{p1, {ID: "r1", StandsInFor: "p1"}}}, p1)
	if !strings.Contains(text, "p1 (primary, dead)") || !strings.Contains(text, "r1, which stands in for it") {
		t.Error(text)
	}
}
