package e2e

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// standInLabel is on every stand-in, with the hash of what it was made from: what is known is not made again, and what
// lacks the label is a real image, which is used and never replaced.
const standInLabel = "braid.stand-in"

// standIn is an image that takes the place of one from a registry.
type standIn struct {
	dockerfile string
	// files are the build's context: the path in it, and what is there, a file or a folder.
	files map[string]string
	// key stands for files, if hashing them would take long or would differ where nothing that matters does.
	key string
}

// standIns makes stand-ins, and remembers the names that it gave away.
type standIns struct {
	t     *testing.T
	fdb   *foundationDB // nil: none is installed, and nothing stands in for its image
	taken []string
	bases map[string]string // bases that others build on, by what they are
}

// provide sees to it that every image has its name, and that the names are free again afterwards.
func (s *standIns) provide(images []string) {
	s.bases = make(map[string]string)
	s.t.Cleanup(func() {
		for _, image := range s.taken {
			if _, err := run(context.WithoutCancel(s.t.Context()), nil, nil, "docker", "rmi", "--no-prune", image); err != nil {
				s.t.Error(err)
			}
		}
	})
	for _, image := range images {
		repository, tag, _ := strings.Cut(image, ":")
		if repository == "foundationdb/foundationdb" && s.fdb == nil {
			continue
		}
		switch made, err := labelled(s.t.Context(), image, standInLabel); {
		case err == nil && made == "":
			s.t.Logf("%s is here, and is used as it is", image)
			continue
		case err != nil && !errors.Is(err, errNoImage):
			s.t.Fatal(err)
		}
		s.taken = append(s.taken, image)
		id := s.make(repository, tag)
		must(s.t, "docker", "tag", id, image)
	}
}

// make returns the name under which a stand-in is kept.
func (s *standIns) make(repository, tag string) string {
	switch repository {
	case "debian":
		return s.debian()
	case "golang":
		return s.golang()
	case "nats":
		version, _, _ := strings.Cut(tag, "-")
		return s.build("nats", standIn{
			dockerfile: "FROM " + s.busybox() + "\nCOPY nats-server /usr/local/bin/\n" +
				`ENTRYPOINT ["docker-entrypoint.sh"]` + "\n",
			files: map[string]string{"nats-server": s.module("github.com/nats-io/nats-server/v2", "v"+version, "")},
			key:   version,
		})
	case "versity/versitygw":
		return s.build("versitygw", standIn{
			dockerfile: "FROM " + s.busybox() + "\nCOPY versitygw /usr/local/bin/\n" +
				`ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]` + "\n",
			files: map[string]string{"versitygw": s.module("github.com/versity/versitygw", tag, "/cmd/versitygw")},
			key:   tag,
		})
	case "prom/prometheus":
		return s.build("prometheus", standIn{dockerfile: "FROM " + s.debian() + `
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus busybox-static \
    && ln -s /bin/busybox /usr/bin/wget && rm -rf /var/lib/apt/lists/* /var/lib/prometheus
RUN mkdir /prometheus && chown 65534:65534 /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
`})
	case "grafana/grafana":
		return s.build("grafana", standIn{
			dockerfile: "FROM " + s.busybox() + `
COPY grafana /run.sh
RUN mkdir -p /var/lib/grafana && chown 472:0 /var/lib/grafana
USER 472
ENTRYPOINT ["/run.sh"]
`,
			files: map[string]string{"grafana": s.own("./grafana")},
		})
	case "foundationdb/foundationdb":
		return s.build("foundationdb", s.fdb.standIn(s.debian()))
	}
	s.t.Fatalf("%s:%s comes from a registry, is not here, and nothing stands in for it", repository, tag)
	return ""
}

// debian is a minimal Debian 12, with the libraries that FoundationDB's client needs if it was built to need any: the
// official one does not.
func (s *standIns) debian() string {
	bare := s.base("debian", s.debootstrap)
	if s.fdb == nil || len(s.fdb.needed) == 0 {
		return bare
	}
	image := standIn{
		dockerfile: "FROM " + bare + `
COPY needed /usr/local/lib/foundationdb
RUN echo /usr/local/lib/foundationdb >/etc/ld.so.conf.d/foundationdb.conf && ldconfig
`,
		files: make(map[string]string),
	}
	for _, library := range s.fdb.needed {
		image.files["needed/"+filepath.Base(library)] = library
	}
	return s.build("debian", image)
}

func (s *standIns) debootstrap(name string) {
	dir := s.t.TempDir()
	must(s.t, "debootstrap", "--variant=minbase", "bookworm", dir)
	// docker reads while tar packs.
	pack := exec.CommandContext(s.t.Context(), "tar", "--create", "--directory", dir, ".")
	packed, err := pack.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := pack.Start(); err != nil {
		s.t.Fatal(err)
	}
	_, err = run(s.t.Context(), packed, nil, "docker", "import",
		"--change", "LABEL "+standInLabel+"=bookworm", "--change", `CMD ["bash"]`, "-", name)
	if err := errors.Join(err, pack.Wait()); err != nil {
		s.t.Fatal(err)
	}
	must(s.t, "rm", "--recursive", "--one-file-system", dir) // what debootstrap has left is root's
}

// busybox is as much as the health checks of images on Alpine need.
func (s *standIns) busybox() string {
	debian := s.base("debian", s.debootstrap)
	return s.base("busybox", func(name string) {
		s.buildAs(name, standIn{dockerfile: "FROM " + debian + ` AS debian
RUN apt-get update && apt-get install --yes --no-install-recommends busybox-static ca-certificates
FROM scratch
COPY --from=debian /bin/busybox /bin/busybox
COPY --from=debian /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN ["/bin/busybox", "mkdir", "-p", "/usr/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/tmp", "/var/tmp"]
RUN ["/bin/busybox", "--install", "-s"]
RUN chmod 1777 /tmp /var/tmp
ENV PATH=/usr/local/bin:/usr/bin:/bin
`}, "busybox")
	})
}

// golang is a builder with the Go that runs this test. It brings what the two builds of deploy/Dockerfile compile, as
// it was when go.mod last changed, so that they only compile what has changed since: minutes less on a small machine.
func (s *standIns) golang() string {
	goroot, version := must(s.t, "go", "env", "GOROOT"), must(s.t, "go", "env", "GOVERSION")
	image := standIn{
		dockerfile: "FROM " + s.debian() + `
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/
COPY go /usr/local/go
COPY compiled /root/.cache/go-build
ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    GOPATH=/go GOTOOLCHAIN=local GOPROXY=` + must(s.t, "go", "env", "GOPROXY") + `
WORKDIR /go
`,
		files: map[string]string{
			"go": goroot,
			// The machine's certificates: its module proxy may have one of its own.
			"ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
		},
		key: version,
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			s.t.Fatal(err)
		}
		image.key += "\n" + string(text)
	}
	return s.buildWith("golang", image, func() {
		compiled := s.t.TempDir()
		builds := []string{"CGO_ENABLED=0"}
		if s.fdb != nil {
			builds = append(builds, "CGO_ENABLED=1")
		}
		for _, cgo := range builds {
			_, err := run(s.t.Context(), nil, []string{"GOCACHE=" + compiled, cgo}, "go", "build",
				"-C", root, "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", os.DevNull, "./cmd/braid")
			if err != nil {
				s.t.Fatal(err)
			}
		}
		image.files["compiled"] = compiled
	})
}

// base makes a base once in the lifetime of a machine's Docker.
func (s *standIns) base(what string, make func(name string)) string {
	if name := s.bases[what]; name != "" {
		return name
	}
	name := "braid-stand-in/" + what + ":base"
	if _, err := labelled(s.t.Context(), name, standInLabel); errors.Is(err, errNoImage) {
		s.t.Logf("making %s", name)
		make(name)
	} else if err != nil {
		s.t.Fatal(err)
	}
	s.bases[what] = name
	return name
}

// build builds a stand-in, if what it is made from has changed since.
func (s *standIns) build(what string, image standIn) string {
	return s.buildWith(what, image, func() {})
}

// buildWith does the same, and calls prepare for what only a build needs.
func (s *standIns) buildWith(what string, image standIn, prepare func()) string {
	hash := s.hash(image)
	name := "braid-stand-in/" + what + ":" + hash
	switch _, err := labelled(s.t.Context(), name, standInLabel); {
	case errors.Is(err, errNoImage):
		s.t.Logf("building %s", name)
		prepare()
		s.buildAs(name, image, hash)
	case err != nil:
		s.t.Fatal(err)
	}
	return name
}

func (s *standIns) hash(image standIn) string {
	h := sha256.New()
	fmt.Fprintln(h, image.dockerfile, image.key)
	if image.key == "" {
		for _, path := range sorted(image.files) {
			file, err := os.Open(image.files[path])
			if err != nil {
				s.t.Fatal(err)
			}
			fmt.Fprintln(h, path)
			_, err = io.Copy(h, file)
			if err := errors.Join(err, file.Close()); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func sorted(files map[string]string) []string {
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// buildAs hands docker the context as a stream: the files lie all over the machine.
func (s *standIns) buildAs(name string, image standIn, label string) {
	read, write := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(write, 1<<20)
		err := errors.Join(pack(buffered, image), buffered.Flush())
		packed <- errors.Join(err, write.CloseWithError(err))
	}()
	_, err := run(s.t.Context(), read, nil, "docker", "build", "--tag", name, "--label", standInLabel+"="+label, "-")
	if err != nil {
		read.CloseWithError(err)
	}
	if err := errors.Join(err, <-packed); err != nil {
		s.t.Fatal(err)
	}
}

func pack(w io.Writer, image standIn) error {
	t := tar.NewWriter(w)
	header := &tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(image.dockerfile))}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.WriteString(t, image.dockerfile); err != nil {
		return err
	}
	for _, path := range sorted(image.files) {
		if err := packTree(t, path, image.files[path]); err != nil {
			return err
		}
	}
	return t.Close()
}

// packTree adds a file or a folder, without what only Go's own tests need.
func packTree(t *tar.Writer, to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || path == filepath.Join(from, "test")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !d.Type().IsRegular() && path != from {
			return nil
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Name: filepath.ToSlash(filepath.Join(to, rel)), Mode: int64(info.Mode().Perm()), Size: info.Size(),
			ModTime: info.ModTime(),
		}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(t, file)
		return errors.Join(err, file.Close())
	})
}

// module is a static program from the module proxy, kept between runs.
func (s *standIns) module(module, version, folder string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		s.t.Fatal(err)
	}
	dir := filepath.Join(cache, "braid-e2e", version)
	program := filepath.Join(dir, programName(module+folder))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	s.t.Logf("building %s%s@%s", module, folder, version)
	_, err = run(s.t.Context(), nil, []string{"GOBIN=" + dir, "GOFLAGS=", "CGO_ENABLED=0"},
		"go", "install", module+folder+"@"+version)
	if err != nil {
		s.t.Fatal(err)
	}
	return program
}

// programName is the name that go install gives: a major version is no name.
func programName(path string) string {
	name := filepath.Base(path)
	if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
		return filepath.Base(filepath.Dir(path))
	}
	return name
}

// own is a static program of this repository.
func (s *standIns) own(folder string) string {
	program := filepath.Join(s.t.TempDir(), filepath.Base(folder))
	_, err := run(s.t.Context(), nil, []string{"CGO_ENABLED=0"},
		"go", "build", "-trimpath", "-buildvcs=false", "-o", program, folder)
	if err != nil {
		s.t.Fatal(err)
	}
	return program
}
