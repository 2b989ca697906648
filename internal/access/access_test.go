package access_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/access"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rights are what docs/security.md grants a role.
type rights struct {
	besides            []string
	publish, subscribe []string
}

// documented reads the table of roles in docs/security.md: what is written there is what is tested.
func documented(t *testing.T) map[access.Role]rights {
	t.Helper()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[access.Role]rights)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		table[access.Role(words(cells[1])[0])] = rights{words(cells[2]), words(cells[3]), words(cells[4])}
	}
	return table
}

func words(cell string) []string { return strings.Fields(strings.ReplaceAll(cell, "`", "")) }

// of are a role's rights with those of the roles that it has besides.
func of(t *testing.T, table map[access.Role]rights, role access.Role) (publish, subscribe []string) {
	t.Helper()
	r, ok := table[role]
	if !ok {
		t.Fatalf("docs/security.md does not have role %s", role)
	}
	publish, subscribe = slices.Clone(r.publish), slices.Clone(r.subscribe)
	for _, other := range r.besides {
		p, s := of(t, table, access.Role(other))
		publish, subscribe = append(publish, p...), append(subscribe, s...)
	}
	return publish, subscribe
}

// matches is NATS's rule for a subject and a pattern.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

func anyMatches(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
}

// everySubject calls every method of api.Subjects: with the id "own" and with "other", with tables that the users of the
// test may write and one that they may not.
func everySubject(t *testing.T, s api.Subjects) []string {
	t.Helper()
	value := reflect.ValueOf(s)
	var all []string
	for i := range value.NumMethod() {
		method := value.Method(i)
		if method.Type().NumOut() != 1 || method.Type().Out(0).Kind() != reflect.String {
			continue // ParseIngest
		}
		arguments := [][]any{{}}
		for n := range method.Type().NumIn() {
			choices := []any{"own", "other", "cpu", "a.b", "mem"}
			if method.Type().In(n).Kind() == reflect.Int {
				choices = []any{0, 15}
			}
			var longer [][]any
			for _, a := range arguments {
				for _, c := range choices {
					longer = append(longer, append(slices.Clone(a), c))
				}
			}
			arguments = longer
		}
		for _, a := range arguments {
			in := make([]reflect.Value, len(a))
			for n := range a {
				in[n] = reflect.ValueOf(a[n])
			}
			all = append(all, method.Call(in)[0].String())
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d subjects found", len(all))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// serve runs a NATS server with these users, each with its name as password.
func serve(t *testing.T, s api.Subjects, users ...access.User) *server.Server {
	t.Helper()
	var logins []access.Login
	for _, u := range users {
		logins = append(logins, access.Login{User: u, Password: u.Name})
	}
	text, err := access.NATSConfig(s, logins)
	if err != nil {
		t.Fatal(err)
	}
	parsed := parse(t, text)
	return natstest.Server(t, func(o *server.Options) { o.Accounts, o.Users, o.Nkeys = parsed.Accounts, parsed.Users, parsed.Nkeys })
}

func connect(t *testing.T, s *server.Server, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo(user, user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // LastError has it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// forbidden says whether the server has refused what was done on the subject just now. It says so before it answers the
// flush.
func forbidden(t *testing.T, nc *nats.Conn, what, subject string) bool {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	err := nc.LastError()
	return err != nil && strings.Contains(err.Error(), what+` "`+subject+`"`)
}

func mayPublish(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	if err := nc.Publish(subject, nil); err != nil {
		t.Fatal(err)
	}
	return !forbidden(t, nc, "Publish to", subject)
}

func maySubscribe(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	if _, err := nc.SubscribeSync(subject); err != nil {
		t.Fatal(err)
	}
	return !forbidden(t, nc, "Subscription to", subject)
}

// TestRoles: on a real server each role may do what docs/security.md says and nothing else: not on any other subject of
// api.Subjects, not on one of the server's own, not in anybody else's inbox.
func TestRoles(t *testing.T) {
	table := documented(t)
	if len(table) != len(access.Roles()) {
		t.Errorf("docs/security.md has %d roles, there are %d", len(table), len(access.Roles()))
	}
	for _, s := range []api.Subjects{{}, {Namespace: "ns"}} {
		for _, role := range access.Roles() {
			t.Run(string(role)+s.Namespace, func(t *testing.T) {
				user := access.User{Name: "user", Roles: []access.Role{role}}
				tables, id := []string{">"}, "*"
				switch role {
				case access.Producer, access.SDK:
					user.Tables, tables = []string{"cpu", "a.b"}, []string{"cpu", "a.b"}
				case access.Node, access.Sequencer, access.Failover, access.Gateway:
					user.ID, id = "own", "own"
				}
				publish, subscribe := of(t, table, role)
				if role == access.Direct { // any table, as the page says
					publish = append(publish, "ingest", "primary.*.ingest")
				}
				walk(t, s, user, expand(s, publish, tables, id), append(expand(s, subscribe, tables, id), "_INBOX.user.>"))
			})
		}
	}
}

// expand puts tables, id and namespace into patterns of the page.
func expand(s api.Subjects, patterns, tables []string, id string) (all []string) {
	for _, p := range patterns {
		p = strings.ReplaceAll(p, "ID", id)
		if !strings.HasPrefix(p, "$") && !strings.HasPrefix(p, "_") && s.Namespace != "" {
			p = s.Namespace + "." + p
		}
		if !strings.Contains(p, "TABLE") {
			all = append(all, p)
			continue
		}
		for _, t := range tables {
			all = append(all, strings.ReplaceAll(p, "TABLE", t))
		}
	}
	return all
}

func walk(t *testing.T, s api.Subjects, user access.User, publish, subscribe []string) {
	t.Helper()
	nc := connect(t, serve(t, s, user), user.Name)
	subjects := append(everySubject(t, s), "_INBOX.user.x.y", "_INBOX.other.x.y", "_INBOX.x", "$SRV.PING", "$SRV.INFO.x.y",
		"$SYS.REQ.SERVER.PING", "$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "queue.cpu", "deadletter.cpu", "anything",
		"other.ingest.cpu", "other.braid.topology")
	if s.Namespace != "" {
		subjects = append(subjects, everySubject(t, api.Subjects{})...)
	}
	for _, subject := range subjects {
		if want := anyMatches(publish, subject); mayPublish(t, nc, subject) != want {
			t.Errorf("publish on %s: allowed is not %t", subject, want)
		}
		if want := anyMatches(subscribe, subject); maySubscribe(t, nc, subject) != want {
			t.Errorf("subscribe to %s: allowed is not %t", subject, want)
		}
	}
	// What a wildcard would bring together is no way round.
	for _, subject := range []string{">", "*", "ingest.>", "braid.>", "braid.registry.>", "_INBOX.>", "_INBOX.*.x", "$SYS.>"} {
		if covered := slices.Contains(subscribe, subject); maySubscribe(t, nc, subject) && !covered {
			t.Errorf("subscribe to %s is allowed", subject)
		}
	}
}

// TestUsers: users that make no sense are refused, with the reason.
func TestUsers(t *testing.T) {
	ok := access.Login{User: access.User{Name: "a", Roles: []access.Role{access.Reader}}, Password: "p"}
	for name, c := range map[string]struct {
		change func(*access.Login)
		want   string
	}{
		"no role":            {func(l *access.Login) { l.Roles = nil }, "no role"},
		"unknown role":       {func(l *access.Login) { l.Roles = []access.Role{"root"} }, "root"},
		"dots in the name":   {func(l *access.Login) { l.Name = "a.b" }, "a.b"},
		"wildcard as a name": {func(l *access.Login) { l.Name = "*" }, "must have"},
		"no tables":          {func(l *access.Login) { l.Roles = []access.Role{access.Producer} }, "no tables"},
		"tables to read":     {func(l *access.Login) { l.Tables = []string{"cpu"} }, "no role that writes"},
		"star in a table": {func(l *access.Login) {
			l.Roles, l.Tables = []access.Role{access.Producer}, []string{"a.*"}
		}, "must not contain"},
		"> inside a table": {func(l *access.Login) {
			l.Roles, l.Tables = []access.Role{access.Producer}, []string{"a.>.b"}
		}, "must not contain"},
		"id of no node":     {func(l *access.Login) { l.ID = "A*" }, "node id"},
		"no proof":          {func(l *access.Login) { l.Password = "" }, "password or an nkey"},
		"two proofs":        {func(l *access.Login) { l.NKey = "U" }, "not both"},
		"a seed as an nkey": {func(l *access.Login) { l.Password, l.NKey = "", "SUAB" }, "public key"},
	} {
		l := ok
		c.change(&l)
		if _, err := access.NATSConfig(api.Subjects{}, []access.Login{l}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := access.NATSConfig(api.Subjects{}, []access.Login{ok, ok}); err == nil {
		t.Error("two users of one name are taken")
	}
	if _, err := access.NATSConfig(api.Subjects{}, nil); err == nil {
		t.Error("no users are taken: NATS would let everybody in")
	}
}

// TestPasswords: whatever is in a password is in the password, and nothing else of the file; a variable is the server's.
func TestPasswords(t *testing.T) {
	t.Setenv("BRAID_TEST_PASSWORD", "secret-1")
	const hash = "$2a$11$3kIDaCxw.Glsl1.u5nKa6eUnNDLV5HV9tIuUp7EHhMt6Nm9myW1aS"
	var logins []access.Login
	want := map[string]string{"a": "it's \"quoted\" } \\ # $x", "b": "secret-1", "c": hash, "d": "12"}
	for name, password := range want {
		if name == "b" {
			password = "$BRAID_TEST_PASSWORD"
		}
		logins = append(logins, access.Login{User: access.User{Name: name, Roles: []access.Role{access.Reader}}, Password: password})
	}
	text, err := access.NATSConfig(api.Subjects{}, logins)
	if err != nil {
		t.Fatal(err)
	}
	parsed := parse(t, text)
	got := make(map[string]string)
	for _, u := range parsed.Users {
		got[u.Username] = u.Password
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("users %q, want %q", got, want)
	}
}

// parse is a configuration as a NATS server reads it.
func parse(t *testing.T, text string) *server.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return parsed
}
