package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/seed-551dd829/braid"

// file is one Go file of the module, by its slash-separated path from the root.
type file struct {
	path    string
	syntax  *ast.File
	imports []string
}

func (f file) dir() string  { return path.Dir(f.path) }
func (f file) test() bool   { return strings.HasSuffix(f.path, "_test.go") }
func (f file) base() string { return path.Base(f.path) }

// within says whether the file is in folder or below it.
func (f file) within(folder string) bool { return below(f.dir(), folder) }

func below(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

func load(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	set := token.NewFileSet()
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "braid-data") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(rel), syntax: syntax}
		for _, i := range syntax.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d Go files found below %s: the rules would check nothing", len(files), root)
	}
	return set, files
}

var services = []string{"gateway", "primary", "sequencer", "replicator", "failover"}

func serviceOf(dir string) string {
	for _, s := range services {
		if below(dir, s) {
			return s
		}
	}
	return ""
}

// testHelpers says whether dir is a package for tests, which its name says: natstest, kvtest.
func testHelpers(dir string) bool { return strings.HasSuffix(dir, "test") && dir != "loadtest" }

func TestImports(t *testing.T) {
	_, files := load(t)
	clientMay := []string{"internal/api", "internal/columnar", "internal/lineproto", "internal/segment",
		"internal/catalog", "internal/topology", "internal/producer",
		"internal/bearer",
		"internal/outbox", "internal/disk"} // its rows outlive it on a disk
	for _, f := range files {
		for _, imported := range f.imports {
			own, ok := strings.CutPrefix(imported, module+"/")
			if !ok {
				checkVendor(t, f, imported)
				continue
			}
			from, to := serviceOf(f.dir()), serviceOf(own)
			if from != "" && to != "" && from != to {
				t.Errorf("%s imports %s: services never import each other, they speak only over the bus", f.path, own)
			}
			if f.within("internal") && to != "" && !f.within("internal/cluster") && !f.within("internal/simulation") {
				t.Errorf("%s imports %s: in internal only cluster and simulation put services together", f.path, own)
			}
			if f.within("loadtest") && to != "" {
				t.Errorf("%s imports %s: the harness drives the system through client, as users do", f.path, own)
			}
			if testHelpers(own) && !f.test() && !testHelpers(f.dir()) {
				t.Errorf("%s imports %s: what helps tests is no part of the product", f.path, own)
			}
			if f.within("client") && !f.test() && own != "client" &&
				!slices.ContainsFunc(clientMay, func(p string) bool { return below(own, p) }) {
				t.Errorf("%s imports %s: an application gets api and what it needs to number and encode, no more", f.path, own)
			}
		}
	}
}

// vendors lists who alone may import a vendor's packages: one importer is one place to change.
var vendors = []struct{ prefix, only, reason string }{
	{"github.com/apache/arrow-go", "internal/columnar", "Arrow is known to columnar alone"},
	{"github.com/apple/foundationdb", "sequencer/kv/fdb", "only this package may need cgo"},
	{"github.com/aws", "internal/objstore", "S3 is known to objstore alone"},
	{"go.etcd.io/bbolt", "sequencer/kv/bbolt", "bbolt is one of the stores behind kv"},
	{"github.com/nats-io/nats-server", "internal/cluster", "an embedded server is part of a whole cluster"},
	{"github.com/anishathalye/porcupine", "internal/history/linear", "its search is exponential: the rest is linear"},
	{"github.com/alecthomas/kong", "cmd/braid", "the command line is the command's"},
	{"github.com/goccy/go-yaml", "cmd/braid", "the command line is the command's"},
}

func checkVendor(t *testing.T, f file, imported string) {
	t.Helper()
	if imported == "C" && !f.within("sequencer/kv/fdb") {
		t.Errorf("%s imports C: the default build is pure Go and static", f.path)
	}
	if f.test() {
		return
	}
	for _, v := range vendors {
		if below(imported, v.prefix) && !f.within(v.only) && !exempt(f, v.prefix) {
			t.Errorf("%s imports %s: %s", f.path, imported, v.reason)
		}
	}
}

// exempt: an application hands Arrow records to the client, the harness reads Arrow as a stranger would, and natstest
// gives tests a server.
func exempt(f file, prefix string) bool {
	switch prefix {
	case "github.com/apache/arrow-go":
		return f.within("client") || f.within("loadtest")
	case "github.com/nats-io/nats-server":
		return f.within("internal/natstest")
	}
	return false
}

// TestClientSignatures: no exported signature of client mentions an internal type, or applications could not name it.
func TestClientSignatures(t *testing.T) {
	set, files := load(t)
	checked := 0
	for _, f := range files {
		if !f.within("client") || f.test() {
			continue
		}
		internal := make(map[string]bool) // names under which internal packages are imported here
		for i, imported := range f.imports {
			if strings.HasPrefix(imported, module+"/internal/") {
				name := path.Base(imported)
				if alias := f.syntax.Imports[i].Name; alias != nil {
					name = alias.Name
				}
				internal[name] = true
			}
		}
		for _, part := range exported(f.syntax) {
			checked++
			ast.Inspect(part, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := s.X.(*ast.Ident); ok && internal[pkg.Name] {
						t.Errorf("%s: exported %s.%s is internal", set.Position(s.Pos()), pkg.Name, s.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if checked == 0 {
		t.Error("client has no exported declaration: the rule checked nothing")
	}
}

// exported returns what an importer can see of a file: signatures, exported fields, types of exported variables.
func exported(f *ast.File) (parts []ast.Node) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || receiverExported(d.Recv)) {
				parts = append(parts, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				parts = append(parts, exportedSpec(spec)...)
			}
		}
	}
	return parts
}

func exportedSpec(spec ast.Spec) (parts []ast.Node) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		st, ok := s.Type.(*ast.StructType)
		if !ok {
			return []ast.Node{s.Type}
		}
		for _, field := range st.Fields.List {
			if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
				parts = append(parts, field.Type)
			}
		}
	case *ast.ValueSpec:
		if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
			parts = append(parts, s.Type)
		}
	}
	return parts
}

func receiverExported(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestCoresArePure: a file that is named after a core decides, and does nothing else; the simulator replays it.
func TestCoresArePure(t *testing.T) {
	set, files := load(t)
	banned := []string{"os", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "context", "sync",
		"github.com/nats-io/nats.go", module + "/internal/api/bus"}
	cores := 0
	for _, f := range files {
		if f.test() || f.base() != "core.go" && !strings.HasSuffix(f.base(), "_core.go") {
			continue
		}
		cores++
		for _, b := range banned {
			if slices.Contains(f.imports, b) {
				t.Errorf("%s imports %s: a core has no I/O, randomness, context or lock", f.path, b)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: a core has no goroutine and no channel", set.Position(n.Pos()))
			case *ast.CallExpr:
				if name := called(n); name == "time.Now" || name == "time.Since" || name == "time.After" {
					t.Errorf("%s: %s: a core is told the time", set.Position(n.Pos()), name)
				}
			}
			return true
		})
	}
	if cores < 3 {
		t.Errorf("%d cores found: the rule checks too little", cores)
	}
}

// TestNoSleepInTests: a test that sleeps is slow where the machine is fast and fails where it is slow.
func TestNoSleepInTests(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if !f.test() || slices.Contains(f.imports, "testing/synctest") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && called(c) == "time.Sleep" {
				t.Errorf("%s: wait for the event, or use testing/synctest", set.Position(c.Pos()))
			}
			return true
		})
	}
}

func called(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}
