package archtest

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestNoStateInPackages: what a package keeps by itself is shared by every service of a process, and by every test.
// Tables that are never written, errors and pools have a value where they are declared, and nothing is run to set
// them up.
func TestNoStateInPackages(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if f.test() {
			continue
		}
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: init runs unasked, in an order that nobody reads", set.Position(d.Pos()))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && len(v.Values) == 0 && !embeds(d) {
						t.Errorf("%s: a package variable without a value is state", set.Position(v.Pos()))
					}
				}
			}
		}
	}
}

// embeds says whether the compiler gives a declaration its value, from a file.
func embeds(d *ast.GenDecl) bool {
	return d.Doc != nil && slices.ContainsFunc(d.Doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// ctxHolders are the structs that live no longer than the call whose context they keep, and main's, by their package.
var ctxHolders = map[string][]string{
	"cmd/braid":         {"process"},
	"internal/objstore": {"readerWithContext", "lister"},
	"replicator":        {"reading", "round"},
}

// TestNoContextInStructs: a kept context ends a call that it knows nothing of.
func TestNoContextInStructs(t *testing.T) {
	set, files := load(t)
	found := 0
	for _, f := range files {
		if f.test() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && holdsContext(s) {
				found++
				if !slices.Contains(ctxHolders[f.dir()], spec.Name.Name) {
					t.Errorf("%s: %s keeps a context: pass it to each call", set.Position(spec.Pos()), spec.Name.Name)
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("none of the structs that keep a context was found: the rule checks nothing")
	}
}

func holdsContext(s *ast.StructType) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
		typ, ok := f.Type.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, ok := typ.X.(*ast.Ident)
		return ok && pkg.Name == "context" && typ.Sel.Name == "Context"
	})
}

// TestGoroutineLeaksAreLookedFor: where a package or its tests start goroutines, a TestMain sees that all have ended.
func TestGoroutineLeaksAreLookedFor(t *testing.T) {
	_, files := load(t)
	starts, tests, looks := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range files {
		tests[f.dir()] = tests[f.dir()] || f.test()
		looks[f.dir()] = looks[f.dir()] || slices.Contains(f.imports, "go.uber.org/goleak")
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok || startsByGo(n) {
				starts[f.dir()] = true
			}
			return true
		})
	}
	if len(looks) == 0 || len(starts) < 5 {
		t.Fatalf("%d packages that start goroutines found: the rule checks too little", len(starts))
	}
	for dir := range starts {
		if tests[dir] && !looks[dir] {
			t.Errorf("%s starts goroutines and its tests do not look for leaks: call goleak.VerifyTestMain", dir)
		}
	}
}

// startsByGo says whether n calls the method Go, of a sync.WaitGroup or an errgroup, with a function.
func startsByGo(n ast.Node) bool {
	c, ok := n.(*ast.CallExpr)
	if !ok || len(c.Args) != 1 {
		return false
	}
	s, ok := c.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Go"
}
