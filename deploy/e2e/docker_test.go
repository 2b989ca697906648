package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// run runs a command and returns its stdout; its stderr is in the error.
func run(ctx context.Context, stdin io.Reader, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s",
			name, strings.Join(args, " "), err, tail(stdout.String()), tail(stderr.String()))
	}
	return stdout.String(), nil
}

// tail is the end of a long output: what went wrong stands there.
func tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// must is run for what has to work.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), nil, nil, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// poll asks until the answer is nil, and fails the test with the last error that is not the end of its patience.
func poll(t *testing.T, what string, patience time.Duration, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, last)
		}
	}
}

// labelled is the id of the image of that name if it has the label, "" if it has not, and errNoImage if there is none.
func labelled(ctx context.Context, image, label string) (string, error) {
	out, err := run(ctx, nil, nil, "docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "reference="+image)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(out) == "" {
		return "", errNoImage
	}
	out, err = run(ctx, nil, nil, "docker", "image", "inspect", "--format",
		fmt.Sprintf(`{{if index .Config.Labels %q}}{{.Id}}{{end}}`, label), image)
	return strings.TrimSpace(out), err
}

var errNoImage = errors.New("no such image")
