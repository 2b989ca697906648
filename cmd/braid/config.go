package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// configFromEnv returns the file that BRAID_CONFIG names, if any.
func configFromEnv() []string {
	if path := os.Getenv("BRAID_CONFIG"); path != "" {
		return []string{path}
	}
	return nil
}

// yamlFile resolves flags from a YAML file: `seal-interval: 20ms`. A key in a section that is named like a subcommand
// is for that subcommand alone.
type yamlFile map[string]any

func loadYAML(r io.Reader) (kong.Resolver, error) {
	values := make(yamlFile)
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && err != io.EOF {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return values, nil
}

// Validate refuses keys that no command knows: a misspelt setting must not be silently without effect.
func (f yamlFile) Validate(app *kong.Application) error {
	known := make(map[string]map[string]bool) // flags by command; "" has all
	known[""] = make(map[string]bool)
	for _, flag := range app.Flags {
		known[""][flag.Name] = true
	}
	for _, command := range app.Children {
		known[command.Name] = make(map[string]bool)
		for _, flag := range command.Flags {
			known[command.Name][flag.Name], known[""][flag.Name] = true, true
		}
	}
	for key, value := range f {
		section, isSection := value.(map[string]any)
		switch {
		case isSection && known[key] == nil:
			return fmt.Errorf("configuration file: there is no command %q", key)
		case !isSection && !known[""][key]:
			return fmt.Errorf("configuration file: there is no setting %q", key)
		}
		for inner := range section {
			if !known[key][inner] {
				return fmt.Errorf("configuration file: command %s has no setting %q", key, inner)
			}
		}
	}
	return nil
}

// Resolve gives a flag its value, unless the environment has one, which comes first.
func (f yamlFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	value, ok := f[flag.Name]
	if parent.Command != nil {
		if section, isSection := f[parent.Command.Name].(map[string]any); isSection {
			if inner, has := section[flag.Name]; has {
				value, ok = inner, true
			}
		}
	}
	if !ok {
		return nil, nil
	}
	if list, isList := value.([]any); isList {
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(value), nil
}
