package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

	"github.com/seed-551dd829/braid/internal/access"
	"github.com/seed-551dd829/braid/internal/api"
)

// securityCmds are what is done before a cluster with rights and certificates starts.
type securityCmds struct {
	NATS securityNATSCmd `cmd:"" name:"nats" help:"Write the users of a YAML file, with the rights of their roles, as accounts of a NATS server."`
}

type securityNATSCmd struct {
	Users string `arg:"" help:"The file; deploy/nats/users.yml is one." type:"existingfile"`
}

// usersFile is what the file says. A key that is not here is an error: a misspelt one would be a right too many.
type usersFile struct {
	Namespace string `yaml:"namespace"`
	Users     []struct {
		Name     string        `yaml:"name"`
		Password string        `yaml:"password"`
		NKey     string        `yaml:"nkey"`
		Roles    []access.Role `yaml:"roles"`
		Tables   []string      `yaml:"tables"`
		ID       string        `yaml:"id"`
	} `yaml:"users"`
}

// Run prints the accounts, to be included in a NATS server's configuration.
func (c *securityNATSCmd) Run(p *process) error {
	data, err := os.ReadFile(c.Users)
	if err != nil {
		return err
	}
	text, err := natsAccounts(data)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Users, err)
	}
	_, err = fmt.Fprint(p.stdout, text)
	return err
}

func natsAccounts(users []byte) (string, error) {
	var f usersFile
	if err := yaml.NewDecoder(bytes.NewReader(users), yaml.Strict()).Decode(&f); err != nil {
		return "", err
	}
	logins := make([]access.Login, 0, len(f.Users))
	for _, u := range f.Users {
		logins = append(logins, access.Login{
			User:     access.User{Name: u.Name, Roles: u.Roles, Tables: u.Tables, ID: u.ID},
			Password: u.Password, NKey: u.NKey,
		})
	}
	text, err := access.NATSConfig(api.Subjects{Namespace: f.Namespace}, logins)
	if err != nil {
		return "", err
	}
	return "# Written by `braid security nats`: change the users there, not here.\n" + text, nil
}
