package access

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
)

// Login is a user and how it proves who it is.
type Login struct {
	User
	// Password is compared as it is; a bcrypt hash (`nats server passwd`) is better, and $NAME takes either from the NATS
	// server's environment.
	Password string
	// NKey is the public key of an NKey, instead of a password.
	NKey string
}

var (
	variable = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)
	nkey     = regexp.MustCompile(`^U[A-Z2-7]{55}$`)
)

// proof is the beginning of the user's entry.
func (l Login) proof() (string, error) {
	switch {
	case (l.Password == "") == (l.NKey == ""):
		return "", fmt.Errorf("user %s must have a password or an nkey, and not both", l.Name)
	case l.NKey != "" && !nkey.MatchString(l.NKey):
		return "", fmt.Errorf("user %s: %s is not the public key of a user", l.Name, api.Quote(l.NKey))
	case l.NKey != "":
		return "nkey: " + l.NKey, nil
	case variable.MatchString(l.Password):
		return fmt.Sprintf("user: %s, password: %s", strconv.Quote(l.Name), l.Password), nil
	}
	return fmt.Sprintf("user: %s, password: %s", strconv.Quote(l.Name), strconv.Quote(l.Password)), nil
}

// account is the one that all users of a cluster share.
const account = "BRAID"

// NATSConfig writes the users as the accounts of a NATS server's configuration, to be included there. Whoever is not among
// them cannot connect.
func NATSConfig(s api.Subjects, logins []Login) (string, error) {
	if len(logins) == 0 {
		return "", fmt.Errorf("no users: nobody could connect")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "accounts: {\n  %s: {\n    users: [\n", account)
	seen := make(map[string]bool)
	for _, l := range logins {
		if seen[l.Name] {
			return "", fmt.Errorf("user %s is there twice", l.Name)
		}
		seen[l.Name] = true
		proof, err := l.proof()
		if err != nil {
			return "", err
		}
		p, err := l.Permissions(s)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "      # %s: %s\n      { %s, permissions: {\n", l.Name, l.describe(), proof)
		fmt.Fprintf(&b, "        publish: { allow: %s }\n        subscribe: { allow: %s }\n      } }\n",
			list(p.Publish), list(p.Subscribe))
	}
	b.WriteString("    ]\n  }\n}\n")
	return b.String(), nil
}

func (l Login) describe() string {
	words := make([]string, 0, len(l.Roles))
	for _, r := range l.Roles {
		words = append(words, string(r))
	}
	text := strings.Join(words, ", ")
	if len(l.Tables) > 0 {
		text += " of " + strings.Join(l.Tables, ", ")
	}
	if l.ID != "" {
		text += " as " + l.ID
	}
	return text
}

// list writes subjects one a line, or [] for none at all. NATS takes an empty list for no limit, so none is `never`.
func list(subjects []string) string {
	if len(subjects) == 0 {
		return `["` + never + `"]`
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, s := range subjects {
		fmt.Fprintf(&b, "          %s\n", strconv.Quote(s))
	}
	b.WriteString("        ]")
	return b.String()
}

// never is a subject that nobody uses.
const never = "_NEVER"
