package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/seed-551dd829/braid/internal/access"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/certs"
)

// securityCmds are what is done before a cluster with rights and certificates starts.
type securityCmds struct {
	NATS  securityNATSCmd  `cmd:"" name:"nats" help:"Write the users of a YAML file, with the rights of their roles, as accounts of a NATS server."`
	Certs securityCertsCmd `cmd:"" help:"Make certificates for development: an authority, a server's and a client's."`
}

type securityCertsCmd struct {
	Dir  string   `arg:"" help:"Folder for ca.pem, server.pem, client.pem and their keys; an authority that is there is kept." type:"path"`
	Host []string `help:"Names and addresses of the server's certificate." default:"localhost,127.0.0.1,::1" placeholder:"HOST"`
	Days int      `help:"How long they are valid." default:"365"`
}

// Run makes the certificates.
func (c *securityCertsCmd) Run(p *process) error {
	if err := certs.Make(c.Dir, c.Host, time.Now(), time.Duration(c.Days)*24*time.Hour); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "%s has ca.pem, server.pem (%s), client.pem, and their keys. For development: "+
		"whoever can read ca.key can be anybody.\n", c.Dir, strings.Join(c.Host, ", "))
	return err
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
