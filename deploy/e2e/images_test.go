package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// root is the repository's.
const root = "../.."

// composeFile is what the test reads of docker-compose.yml; docker reads the rest.
type composeFile struct {
	Services map[string]struct {
		Image       string                                `yaml:"image"`
		Build       yaml.MapSlice                         `yaml:"build"`
		User        string                                `yaml:"user"`
		Restart     string                                `yaml:"restart"`
		ReadOnly    bool                                  `yaml:"read_only"`
		CapDrop     []string                              `yaml:"cap_drop"`
		SecurityOpt []string                              `yaml:"security_opt"`
		MemLimit    string                                `yaml:"mem_limit"`
		Ports       []string                              `yaml:"ports"`
		HealthCheck yaml.MapSlice                         `yaml:"healthcheck"`
		Profiles    []string                              `yaml:"profiles"`
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	} `yaml:"services"`
}

// overlays are laid over docker-compose.yml.
var overlays = []string{"deploy/embedded.yml", "deploy/secure.yml"}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	c := readFile(t, "docker-compose.yml")
	if len(c.Services) < 10 {
		t.Fatalf("only %d services found in docker-compose.yml", len(c.Services))
	}
	return c
}

func readFile(t *testing.T, name string) composeFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	// To this parser, a key that overrides a merged one is there twice.
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	argLine  = regexp.MustCompile(`(?m)^ARG (\w+)=(\S+)$`)
	fromLine = regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\w+))?$`)
)

// baseImages are the images that deploy/Dockerfile begins with.
func baseImages(t *testing.T) (images []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	args := make(map[string]string)
	for _, m := range argLine.FindAllStringSubmatch(string(text), -1) {
		args[m[1]] = m[2]
	}
	stages := []string{"scratch"}
	for _, m := range fromLine.FindAllStringSubmatch(string(text), -1) {
		image := os.Expand(m[1], func(name string) string { return args[name] })
		if !slices.Contains(stages, image) {
			images = append(images, image)
		}
		stages = append(stages, m[2])
	}
	return images
}

// wanted are the images that come from a registry, each once.
func wanted(t *testing.T) []string {
	t.Helper()
	images := baseImages(t)
	for _, service := range readCompose(t).Services {
		if service.Build == nil {
			images = append(images, service.Image)
		}
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// TestImagesArePinned: every image from a registry has a version, and nothing means "whatever is newest".
func TestImagesArePinned(t *testing.T) {
	version := regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$`)
	for _, image := range wanted(t) {
		if !version.MatchString(image) {
			t.Errorf("%s has no version", image)
		}
	}
}

// TestServicesAreConfined: no root, no capability, no writable image, a limit of memory, a health check, and no port
// that another machine could reach.
func TestServicesAreConfined(t *testing.T) {
	root := regexp.MustCompile(`^(|0|root)(:.*)?$`)
	open := func(port string) bool { return !strings.HasPrefix(port, "127.0.0.1:") }
	services := readCompose(t).Services
	for _, overlay := range overlays {
		for name, s := range readFile(t, overlay).Services {
			if _, changed := services[name]; !changed { // it is new
				services[name] = s
			}
		}
	}
	for name, s := range services {
		oneShot := s.Restart == "on-failure" || slices.Contains(s.Profiles, "tools")
		for what, good := range map[string]bool{
			"runs as root":                  !root.MatchString(s.User),
			"has a writable image":          s.ReadOnly,
			"keeps capabilities":            slices.Equal(s.CapDrop, []string{"ALL"}),
			"may gain privileges":           slices.Contains(s.SecurityOpt, "no-new-privileges:true"),
			"has no limit of memory":        s.MemLimit != "",
			"has no health check":           oneShot || s.HealthCheck != nil,
			"is not started again":          oneShot || s.Restart == "unless-stopped",
			"has a port for other machines": !slices.ContainsFunc(s.Ports, open),
		} {
			if !good {
				t.Errorf("%s %s", name, what)
			}
		}
	}
}

// TestSecretsAreMarked: whatever looks like a secret says that it is for development.
func TestSecretsAreMarked(t *testing.T) {
	secret, found := regexp.MustCompile(`(?i)(secret|password|access_key|token)\w*: +[^/\s]|://[^/@]*:[^/@]*@`), 0
	for _, name := range append(overlays, "docker-compose.yml") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if !secret.MatchString(line) {
				continue
			}
			found++
			if !strings.Contains(line, "# for development only") && !strings.Contains(line, ":development@") {
				t.Errorf("%s:%d has a secret that is not marked: %s", name, i+1, line)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d secrets found: the rule checks too little", found)
	}
}
