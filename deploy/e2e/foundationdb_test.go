package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foundationDB is an installed FoundationDB, found as the tests of the store find it (docs/testing.md): programs in the
// folder BRAID_TEST_FDB or in the PATH, the rest where the C compiler would look.
type foundationDB struct {
	server, cli, library, headers string
	needed                        []string // libraries that these need and a minimal Debian does not have
}

// findFoundationDB returns nil, and what is missing, where there is none.
func findFoundationDB() (*foundationDB, error) {
	var f foundationDB
	for name, to := range map[string]*string{"fdbserver": &f.server, "fdbcli": &f.cli} {
		if folder := os.Getenv("BRAID_TEST_FDB"); folder != "" {
			name = filepath.Join(folder, name)
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		*to = path
	}
	libraries := append(flagged("CGO_LDFLAGS", "-L"), filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
	var err error
	if f.library, err = first("libfdb_c.so", append(libraries, "/usr/local/lib", "/usr/lib")); err != nil {
		return nil, err
	}
	headers := append(flagged("CGO_CFLAGS", "-I"), "/usr/local/include", "/usr/include")
	header, err := first("foundationdb/fdb_c.h", headers)
	if err != nil {
		return nil, err
	}
	f.headers = filepath.Dir(header)
	f.needed, err = needed(f.server, f.cli, f.library)
	return &f, err
}

// loaded is a line of ldd: a library, and where it lies.
var loaded = regexp.MustCompile(`(?m)^\s*(\S+) => (/\S+) \(`)

// needed asks what programs load, beyond what every Debian has.
func needed(programs ...string) (libraries []string, err error) {
	everywhere := regexp.MustCompile(
		`^(libc|libm|libdl|libpthread|librt|libresolv|libgcc_s|libstdc\+\+|libfdb_c|ld-linux.*)\.so`)
	for _, program := range programs {
		out, err := run(context.Background(), nil, nil, "ldd", program)
		if err != nil {
			return nil, err
		}
		for _, m := range loaded.FindAllStringSubmatch(out, -1) {
			if !everywhere.MatchString(m[1]) {
				libraries = append(libraries, m[2])
			}
		}
	}
	slices.Sort(libraries)
	return slices.Compact(libraries), nil
}

// flagged are the values of a flag in an environment variable: -L/a -L/b.
func flagged(variable, flag string) (values []string) {
	for _, field := range strings.Fields(os.Getenv(variable)) {
		if value, ok := strings.CutPrefix(field, flag); ok {
			values = append(values, value)
		}
	}
	return values
}

func first(name string, folders []string) (string, error) {
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in %s", name, strings.Join(folders, ", "))
}

// standIn is laid out as the official image is, as far as docker-compose.yml and deploy/Dockerfile rely on it.
func (f *foundationDB) standIn(base string) standIn {
	return standIn{
		dockerfile: "FROM " + base + `
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /var/fdb/logs /var/fdb/tmp /var/fdb/lib \
    && groupadd --gid 4059 fdb && useradd --gid 4059 --uid 4059 --no-create-home --shell /bin/bash fdb \
    && chown -R fdb:fdb /var/fdb
COPY fdbserver fdbcli /usr/bin/
COPY libfdb_c.so /usr/lib/
VOLUME /var/fdb/data
ENV FDB_CLUSTER_FILE=/var/fdb/fdb.cluster
ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/var/fdb/scripts/fdb.bash"]
`,
		files: map[string]string{"fdbserver": f.server, "fdbcli": f.cli, "libfdb_c.so": f.library},
	}
}

// serveClients serves a package with the headers, as FoundationDB's releases have one, and returns its URL.
func (f *foundationDB) serveClients(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"root/DEBIAN", "root/usr/include"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	control := "Package: foundationdb-clients\nVersion: 0\nArchitecture: all\nMaintainer: none\nDescription: headers\n"
	if err := os.WriteFile(filepath.Join(dir, "root/DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "root/usr/include/foundationdb"), os.DirFS(f.headers)); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(dir, "clients.deb")
	must(t, "dpkg-deb", "--build", "--root-owner-group", filepath.Join(dir, "root"), deb)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, deb)
	})}
	go server.Serve(listener) //nolint:errcheck // it ends when it is closed
	t.Cleanup(func() {
		if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String() + "/clients.deb"
}
