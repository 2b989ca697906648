package main

import (
	"os"
	"strings"
	"testing"
)

// TestAccountsOfTheFile: what is shipped is what the command writes.
func TestAccountsOfTheFile(t *testing.T) {
	want, err := os.ReadFile("../../deploy/nats/accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	status, got, stderr := braid(t, "security", "nats", "../../deploy/nats/users.yml")
	if status != 0 || got != string(want) {
		t.Errorf("deploy/nats/accounts.conf is not what `braid security nats deploy/nats/users.yml` writes: "+
			"status %d, %s", status, stderr)
	}
}

// TestUsersFile: a misspelt key would be a right too many.
func TestUsersFile(t *testing.T) {
	for file, want := range map[string]string{
		"users: [ { name: a, password: p, role: reader } ]":                    "role",
		"namspace: x\nusers: [ { name: a, password: p, roles: [reader] } ]":    "namspace",
		"users: [ { name: a, password: p, roles: [reader], namespace: b } ]":   "namespace",
		"namespace: a.b\nusers: [ { name: a, password: p, roles: [reader] } ]": "must not contain dots",
		"users: [ { name: a, password: p, roles: [writer] } ]":                 "writer",
		"": "",
	} {
		if text, err := natsAccounts([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q\n%s", file, err, want, text)
		}
	}
}
