package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "ashiato"

// layers is the way of the data, from the first to the last. A package may
// import packages of earlier layers only. A new package gets its place here.
var layers = [][]string{
	{"internal/event"},
	{"internal/attack", "internal/corpus", "internal/fold", "internal/i18n", "internal/visible", "internal/wire", "internal/archtest", "rules", "scripts/benchtable"},
	{"internal/source", "internal/normalize"},
	{"internal/source/text", "internal/source/sourcetest", "internal/clock"},
	{"internal/source/auditd", "internal/source/evtx", "internal/source/xmlevent"},
	{"internal/source/ndjson"},
	{"internal/source/files", "internal/scenario"},
	{"internal/world", "internal/sigma/logsource"},
	{"internal/sigma", "internal/ioc"},
	{"internal/sigma/correlation"},
	{"internal/detect"},
	{"internal/provenance"},
	{"internal/ruletest"},
	{"internal/ruleset", "internal/incident"},
	{"internal/analysis", "internal/diagram", "internal/regression", "internal/rulestat"},
	{"internal/diagram/diagramtest", "internal/diagram/browsertest", "internal/report"},
	{"internal/scan", "internal/casefile", "internal/evaluation"},
	{"cmd/ashiato"},
}

// noSystem are the packages whose result is a function of their input alone;
// their …test subpackages, which only tests import, may do more.
var noSystem = []string{"internal/clock", "internal/sigma", "internal/world", "internal/provenance", "internal/incident", "internal/analysis", "internal/diagram"}

// mayTouchSystem are the only places for unsafe and system calls.
var mayTouchSystem = []string{"internal/sensor", "cmd"}

type file struct {
	path    string // from the module root, with slashes
	pkg     string // its folder
	imports []string
	ast     *ast.File
	test    bool
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func parseAll(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	set := token.NewFileSet()
	var files []file
	base := root(t)
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || name == "node_modules" || name == "dist" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f := file{path: rel, ast: parsed, test: strings.HasSuffix(name, "_test.go")}
		f.pkg = strings.TrimSuffix(rel, "/"+name)
		for _, i := range parsed.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found under %s", len(files), base)
	}
	return set, files
}

func within(pkg string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return pkg == r || strings.HasPrefix(pkg, r+"/") })
}

func TestImportsPointBackAlongTheData(t *testing.T) {
	place := map[string]int{}
	for i, l := range layers {
		for _, p := range l {
			place[p] = i
		}
	}
	_, files := parseAll(t)
	seen := map[string]bool{}
	for _, f := range files {
		seen[f.pkg] = true
		if f.test {
			continue // tests may look at everything
		}
		at, ok := place[f.pkg]
		if !ok {
			t.Errorf("%s: package %s has no place in layers", f.path, f.pkg)
			continue
		}
		for _, imp := range f.imports {
			ours, ok := strings.CutPrefix(imp, module+"/")
			if !ok {
				continue
			}
			if to, ok := place[ours]; !ok || to >= at {
				t.Errorf("%s: %s may not import %s: it is not in an earlier layer", f.path, f.pkg, ours)
			}
		}
	}
	for p := range place {
		if !seen[p] {
			t.Errorf("layers name %s, which does not exist", p)
		}
	}
}

func TestEventImportsNothingOfOurs(t *testing.T) {
	_, files := parseAll(t)
	for _, f := range files {
		if f.pkg != "internal/event" || f.test {
			continue
		}
		for _, imp := range f.imports {
			if strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") || strings.HasPrefix(imp, module+"/") {
				t.Errorf("%s imports %s; event imports the standard library only", f.path, imp)
			}
		}
	}
}

func TestJudgementTouchesNoSystemAndNoClock(t *testing.T) {
	set, files := parseAll(t)
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"}
	for _, f := range files {
		if f.test || !within(f.pkg, noSystem) || strings.HasSuffix(f.pkg, "test") {
			continue
		}
		for _, imp := range f.imports {
			if imp == "net/netip" || imp == "net/url" {
				continue // values and text; no network
			}
			if within(imp, []string{"net", "os", "syscall", "unsafe"}) {
				t.Errorf("%s imports %s; %s is a function of its input alone", f.path, imp, f.pkg)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, s.Sel.Name) {
				t.Errorf("%v: time.%s; %s reads event time only", set.Position(s.Pos()), s.Sel.Name, f.pkg)
			}
			return true
		})
	}
}

func TestDetectKnowsNoSource(t *testing.T) {
	_, files := parseAll(t)
	for _, f := range files {
		if f.test || !within(f.pkg, []string{"internal/detect", "internal/sigma", "internal/ioc"}) {
			continue
		}
		for _, imp := range f.imports {
			if within(imp, []string{module + "/internal/source"}) {
				t.Errorf("%s imports %s", f.path, imp)
			}
		}
	}
}

func TestOnlyTheEdgesTouchTheSystem(t *testing.T) {
	_, files := parseAll(t)
	for _, f := range files {
		if f.test || within(f.pkg, mayTouchSystem) {
			continue
		}
		for _, imp := range f.imports {
			if imp == "unsafe" || imp == "syscall" || within(imp, []string{"golang.org/x/sys"}) {
				t.Errorf("%s imports %s; only %v may", f.path, imp, mayTouchSystem)
			}
		}
	}
}

func TestNoDrawersForEverything(t *testing.T) {
	_, files := parseAll(t)
	for _, f := range files {
		for _, part := range strings.Split(f.pkg, "/") {
			switch part {
			case "util", "utils", "common", "helper", "helpers", "manager", "misc", "shared":
				t.Errorf("%s: a folder named %q says nothing of what is in it", f.path, part)
			}
		}
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	set, files := parseAll(t)
	for _, f := range files {
		if !f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%v: a test that sleeps", set.Position(s.Pos()))
				}
			}
			return true
		})
	}
}

func TestExportedIdentifiersAreDocumented(t *testing.T) {
	set, files := parseAll(t)
	documented := map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil
		for _, d := range f.ast.Decls {
			for _, missing := range undocumented(d) {
				t.Errorf("%v: %s has no doc comment", set.Position(d.Pos()), missing)
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// undocumented names what a declaration exports without a comment. A comment on
// a group of constants or variables, or at the end of a line, counts.
func undocumented(d ast.Decl) []string {
	var missing []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			missing = append(missing, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					missing = append(missing, s.Name.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						missing = append(missing, n.Name)
					}
				}
			}
		}
	}
	return missing
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if g, ok := t.(*ast.IndexExpr); ok {
		t = g.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}

// Every direct dependency is listed with its licence and the reason for it.
func TestDependenciesAreListed(t *testing.T) {
	base := root(t)
	mod, err := os.ReadFile(filepath.Join(base, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(base, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, line := range strings.Split(string(list), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		name := strings.Trim(strings.TrimSpace(cells[1]), "`")
		licence := strings.TrimSpace(cells[2])
		if strings.Contains(name, "/") || strings.Contains(name, ".") {
			listed[name] = true
			if !slices.Contains([]string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "MPL-2.0"}, licence) {
				t.Errorf("%s: licence %q is not one of the permissive ones", name, licence)
			}
			if strings.TrimSpace(cells[3]) == "" {
				t.Errorf("%s: no reason given", name)
			}
		}
	}
	for _, name := range direct(string(mod)) {
		if !listed[name] {
			t.Errorf("docs/dependencies.md does not list %s", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/dependencies.md lists %s, which go.mod does not require directly", name)
	}
}

// direct returns the modules that go.mod requires without the "indirect" mark,
// and those of its tools.
func direct(mod string) []string {
	var names []string
	block := ""
	for _, line := range strings.Split(mod, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasSuffix(line, "("):
			block = strings.Fields(line)[0]
		case line == ")":
			block = ""
		case block == "require" && !strings.HasSuffix(line, "// indirect") && line != "":
			names = append(names, strings.Fields(line)[0])
		case block == "tool" && line != "":
			tool := line
			for _, m := range []string{"honnef.co/go/tools", "mvdan.cc/gofumpt"} {
				if strings.HasPrefix(tool, m) {
					names = append(names, m)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
