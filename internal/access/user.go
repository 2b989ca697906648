package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// User is a NATS user of a cluster.
type User struct {
	// Name is one NATS token. The user hears answers below api.UserInbox(Name), and nowhere else.
	Name string
	// Roles are what it may do, one at least.
	Roles []Role
	// Tables are those that a producer or SDK may write. A last token `>` stands for any that follow, alone for all
	// tables: only then may the rows of one request be for many. A direct user may write all, gateways take all.
	Tables []string
	// ID is the node or instance for which alone a service's user may speak and listen; "" is any. A gateway has no
	// subjects of its own, so that it makes no difference to it.
	ID string
}

// Permissions are the subjects that a user may publish on and subscribe to; all others are forbidden.
type Permissions struct {
	Publish, Subscribe []string
}

// Check says what is wrong with a user, or nil.
func (u User) Check() error {
	if err := api.CheckUser(u.Name); err != nil {
		return err
	}
	if len(u.Roles) == 0 {
		return fmt.Errorf("user %s has no role", u.Name)
	}
	for _, r := range u.Roles {
		if !slices.Contains(Roles(), r) {
			return fmt.Errorf("user %s: %s is no role; there are %v", u.Name, api.Quote(r), Roles())
		}
	}
	switch writes := has(u.Roles, Producer); {
	case !writes && len(u.Tables) > 0:
		return fmt.Errorf("user %s has tables, and no role that writes: that is producer, sdk or direct", u.Name)
	case writes && !has(u.Roles, Direct) && len(u.Tables) == 0:
		return fmt.Errorf("user %s has no tables that it may write; tables: [\">\"] is all", u.Name)
	}
	for _, table := range u.Tables {
		if err := checkTables(table); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	if u.ID == "" {
		return nil
	}
	if err := api.CheckNode(u.ID); err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	return nil
}

// checkTables is for the name of a table, and for all tables below one.
func checkTables(pattern string) error {
	if pattern == ">" {
		return nil
	}
	return api.CheckTable(strings.TrimSuffix(pattern, ".>"))
}

// Permissions are a user's rights in a cluster, sorted, each once.
func (u User) Permissions(s api.Subjects) (Permissions, error) {
	if err := errors.Join(u.Check(), api.CheckNamespace(s.Namespace)); err != nil {
		return Permissions{}, err
	}
	p := Permissions{Subscribe: []string{api.UserInbox(u.Name) + ".>"}}
	p.Publish = append(p.Publish, u.ingest(s)...)
	for _, r := range rules {
		if u.may(r.publish) {
			p.Publish = append(p.Publish, r.subjects(s, u.id(r.speakerOwn)))
		}
		if u.may(r.subscribe) {
			p.Subscribe = append(p.Subscribe, r.subjects(s, u.id(r.listenerOwn)))
		}
	}
	if u.may(roles{Gateway}) {
		p.Subscribe = append(p.Subscribe, everyIngest(s)...)
	}
	if u.may(roles{Gateway, Node, Sequencer, Failover}) {
		p.Publish = append(p.Publish, api.InboxPrefix+">") // answers
		p.Subscribe = append(p.Subscribe, discovery)
	}
	if u.may(roles{Operator}) {
		p.Publish = append(p.Publish, discovery)
	}
	for _, list := range []*[]string{&p.Publish, &p.Subscribe} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p, nil
}

// discovery is where services answer `nats micro`.
const discovery = "$SRV.>"

func (u User) may(roles []Role) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return has(u.Roles, r) })
}

// id is what stands in a subject for this user: its own id where it has one, and uses no other.
func (u User) id(own bool) string {
	if own && u.ID != "" && !has(u.Roles, AnyService) {
		return u.ID
	}
	return "*"
}

// ingest is where the user may send rows to.
func (u User) ingest(s api.Subjects) (subjects []string) {
	if !has(u.Roles, Producer) {
		return nil
	}
	tables := u.Tables
	if has(u.Roles, Direct) { // it could send the same rows to a primary itself
		tables = []string{">"}
	}
	for _, t := range tables {
		if t == ">" {
			return everyIngest(s)
		}
		subjects = append(subjects, s.IngestTable(t), s.PrimaryIngestTable("*", t))
	}
	return subjects
}

// everyIngest is where rows of any table go.
func everyIngest(s api.Subjects) []string {
	return []string{s.Ingest(), s.IngestTable(">"), s.PrimaryIngest("*"), s.PrimaryIngestTable("*", ">")}
}
