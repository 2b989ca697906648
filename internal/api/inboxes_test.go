package api_test

import (
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

func TestInboxes(t *testing.T) {
	users := api.Inboxes{api.UserInboxes}
	for _, c := range []struct {
		inboxes api.Inboxes
		reply   string
		user    string
		ok      bool
	}{
		{nil, "_INBOX.abc.def", "", true},
		{nil, "_INBOX", "", false},
		{nil, "_INBOXES.abc", "", false},
		{nil, "braid.topology", "", false},
		{nil, "_INBOX.*.x", "", false},
		{nil, "_INBOX.>", "", false},
		{nil, "_INBOX.a b", "", false},
		{api.Inboxes{}, "_INBOX.abc", "", false},
		{users, "_INBOX.alice.abc.def", "alice", true},
		{users, "_INBOX.alice", "", false},
		{users, "_INBOX..abc", "", false},
		{users, "ingest.alice.abc", "", false},
		{api.Inboxes{"_INBOX.", "_R_."}, "_R_.x", "", true},
		{api.Inboxes{"in.*.box."}, "in.bob.box.x", "bob", true},
		{api.Inboxes{"in.*.box."}, "in.bob.topology", "", false},
		{api.Inboxes{"in.*.box."}, "in.bob", "", false},
	} {
		if user, ok := c.inboxes.Find(c.reply); user != c.user || ok != c.ok {
			t.Errorf("%q: %s is %q, %t, want %q, %t", c.inboxes, c.reply, user, ok, c.user, c.ok)
		}
	}
	if user, ok := users.Find(api.UserInbox("alice") + ".x"); user != "alice" || !ok {
		t.Errorf("UserInbox is not where UserInboxes looks: %q, %t", user, ok)
	}
}

func TestInboxesCheck(t *testing.T) {
	for _, good := range []string{"_INBOX.", "_INBOX.*.", "a.b.", "a.*.b."} {
		if err := (api.Inboxes{good}).Check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "_INBOX", "_INBOX.>", "_INBOX.>.", "*.", "*.*.", "a.*b.", "a.*.*.", "a..", "a b.", "a*."} {
		if err := (api.Inboxes{bad}).Check(); err == nil {
			t.Errorf("%q is taken as a prefix", bad)
		}
	}
}
