package api

import (
	"fmt"
	"slices"
	"strings"
)

// InboxPrefix is where clients of NATS hear answers that do not say otherwise.
const InboxPrefix = "_INBOX."

// Inboxes are the prefixes of the subjects that services answer to; nil is InboxPrefix alone. NATS does not check a
// reply subject against the rights of whoever sends it, but an answer is published with the rights of the service: a
// producer could name braid.topology, and a gateway would speak there for it.
//
// A prefix ends with a dot. One of its tokens may be `*`, which stands for the name of the NATS user whose inboxes are
// below it: `_INBOX.*.` is for users that may hear `_INBOX.<their name>.>` and no other inbox.
type Inboxes []string

// Check says what is wrong with a prefix, or nil.
func (x Inboxes) Check() error {
	for _, prefix := range x {
		tokens := strings.Split(prefix, ".")
		last := len(tokens) - 1
		switch {
		case last < 1 || tokens[last] != "" || slices.Contains(tokens[:last], ""):
			return fmt.Errorf("inbox prefix %s must be NATS tokens with a dot behind each, like %s",
				Quote(prefix), InboxPrefix)
		case !literal(strings.ReplaceAll("."+prefix, ".*.", ".")) || strings.Count(prefix, "*") > 1 || tokens[0] == "*":
			return fmt.Errorf("inbox prefix %s must not have white space or wildcards, but for one * in the user's place, "+
				"not the first", Quote(prefix))
		}
	}
	return nil
}

// Find says whether services answer to reply, and which NATS user's inbox it is: "" where the prefix names none.
func (x Inboxes) Find(reply string) (user string, ok bool) {
	if !literal(reply) {
		return "", false
	}
	if x == nil {
		return "", strings.HasPrefix(reply, InboxPrefix)
	}
	for _, prefix := range x {
		if user, ok = below(reply, prefix); ok {
			return user, true
		}
	}
	return "", false
}

// below says whether subject is below prefix, and what stands in the place of its `*`.
func below(subject, prefix string) (user string, ok bool) {
	before, after, named := strings.Cut(prefix, "*")
	rest, ok := strings.CutPrefix(subject, before)
	if !ok || !named {
		return "", ok
	}
	if user, rest, ok = strings.Cut(rest, "."); !ok || user == "" {
		return "", false
	}
	return user, strings.HasPrefix("."+rest, after)
}

// literal says whether no token of a subject can be a wildcard, or part it.
func literal(subject string) bool { return !strings.ContainsAny(subject, "*> \t\r\n\x00") }

// UserInbox is the prefix under which a NATS user with rights of its own hears answers, without a dot at its end, as
// nats.CustomInboxPrefix takes it. Inboxes{UserInboxes} finds its name there.
func UserInbox(user string) string { return InboxPrefix + user }

// UserInboxes is the prefix of the inboxes of all NATS users, each with its own.
const UserInboxes = InboxPrefix + "*."

// CheckUser says why name cannot be the name of a NATS user with an inbox of its own, or nil: it is one token of a
// subject, 1 to 64 of `A-Z a-z 0-9 - _`.
func CheckUser(name string) error {
	if err := CheckProducer(name); err != nil {
		return fmt.Errorf("NATS user %s must have 1 to 64 of A-Z a-z 0-9 - _", Quote(name))
	}
	return nil
}
