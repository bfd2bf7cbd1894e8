package diagram

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

func rule(id string, level detect.Severity, title string) *detect.Rule {
	return diagramtest.Rule(id, "Test/"+id, level, "T1091 T1105", title, title, title)
}

// dropper is a process that wrote three files, with these rules on each.
func dropper(rules ...[]*detect.Rule) *diagramtest.Case {
	b := diagramtest.NewBuilder("H")
	p := b.Node(provenance.Process, "p", "dropper.exe", `C:\d\dropper.exe`, 0)
	for i, rs := range rules {
		f := b.Node(provenance.File, fmt.Sprint("f", i), fmt.Sprintf("x817994.%c", 'a'+i), fmt.Sprintf(`F:\rootdir\x817994.%c`, 'a'+i), float64(1+i))
		b.Edge(p, provenance.Wrote, f, float64(1+i), 1)
		for _, r := range rs {
			b.Detect(f, r, float64(1+i))
		}
	}
	return b.Finish(p, incident.RootInteractive)
}

func boxesOf(d *Diagram, kind BoxKind) []*Box {
	var out []*Box
	for _, b := range d.Boxes {
		if b.Kind == kind {
			out = append(out, b)
		}
	}
	return out
}

func TestDetectedLeavesAlikeAreOneBox(t *testing.T) {
	wrote := rule("wrote", detect.High, "A program was put on a drive")
	hash := rule("hash", detect.High, "A known file")
	worse := rule("worse", detect.Critical, "The worst of all")
	other := rule("other", detect.High, "Something else")
	for _, c := range []struct {
		name   string
		rules  [][]*detect.Rule
		groups int // boxes of kind Group
		says   []string
	}{
		{"same rules", [][]*detect.Rule{{wrote}, {wrote}, {wrote}}, 1, []string{"3 files", "x817994.a, x817994.b", "A program was put", "T1091"}},
		{"one has more", [][]*detect.Rule{{wrote}, {wrote}, {wrote, hash}}, 1, []string{"A program was put", "+1 on x817994.c"}},
		{"one is worse", [][]*detect.Rule{{wrote}, {wrote}, {wrote, worse}}, 0, []string{"The worst of all"}},
		{"different rules", [][]*detect.Rule{{wrote}, {wrote}, {other}}, 0, []string{"Something else"}},
		{"one has none", [][]*detect.Rule{{wrote}, {wrote}, nil}, 0, nil},
		{"two only", [][]*detect.Rule{{wrote}, {wrote}}, 0, nil},
		{"two kinds of three", [][]*detect.Rule{{wrote}, {other}, {wrote}, {other}, {wrote}, {other}}, 2, []string{"A program was put", "Something else"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := dropper(c.rules...)
			d := New(made.Incident, options(i18n.English, made))
			check(t, made.Incident, d)
			groups := boxesOf(d, Group)
			if len(groups) != c.groups {
				t.Errorf("%d groups, want %d", len(groups), c.groups)
			}
			for _, g := range groups {
				if g.Count != 3 {
					t.Errorf("a group of %d", g.Count)
				}
			}
			text := words(d)
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("the picture does not say %q: %s", want, text)
				}
			}
		})
	}
}

// words are the drawn texts of the boxes.
func words(d *Diagram) string {
	var s strings.Builder
	for _, b := range d.Boxes {
		for _, l := range append(append([][]glyph{b.text.name}, b.text.sub...), b.text.note...) {
			for _, g := range l {
				s.WriteString(g.text)
			}
			s.WriteByte(' ')
		}
		s.WriteString(strings.Join(b.text.badges, " ") + "\n")
	}
	return strings.Join(strings.Fields(s.String()), " ") // lines break at blanks
}

// excluder is a process that started programs, each of which excluded a path.
func excluder(levels ...string) *diagramtest.Case {
	b := diagramtest.NewBuilder("H")
	p := b.Node(provenance.Process, "p", "printui.exe", `C:\d\printui.exe`, 0)
	told, set := rule("told", detect.High, "Defender was told not to look"), rule("set", detect.High, "An exclusion is set")
	for i, level := range levels {
		at := float64(1 + 3*i)
		ps := b.Node(provenance.Process, fmt.Sprint("ps", i), "powershell.exe", `C:\Windows\System32\powershell.exe`, at,
			"IntegrityLevel="+level, fmt.Sprintf("CommandLine=powershell -Exclude %d", i))
		path := fmt.Sprintf(`C:\x%d`, i)
		e := b.Node(provenance.Exclusion, path, path, path, at+1)
		b.Edge(p, provenance.Started, ps, at, 1)
		b.Edge(ps, provenance.Excluded, e, at+1, 1)
		b.Detect(ps, told, at)
		b.Detect(e, set, at+1)
	}
	return b.Finish(p, incident.RootInteractive)
}

func TestTwinsWithTheirProductsAreOnePair(t *testing.T) {
	for _, c := range []struct {
		name   string
		levels []string
		pairs  int
	}{
		{"alike", []string{"High", "High"}, 1},
		{"other rights", []string{"Medium", "High"}, 0},
		{"two and one", []string{"High", "Medium", "High"}, 1},
		{"one", []string{"High"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := excluder(c.levels...)
			d := New(made.Incident, options(i18n.English, made))
			check(t, made.Incident, d)
			groups := boxesOf(d, Group)
			if len(groups) != 2*c.pairs {
				t.Fatalf("%d groups, want %d", len(groups), 2*c.pairs)
			}
			if c.pairs == 0 {
				return
			}
			actors, products := groups[0], groups[1]
			if products.Parent != actors.ID || actors.Count != 2 || products.Count != 2 || len(actors.Detections) != 2 || len(products.Detections) != 2 {
				t.Errorf("the pair is %+v and %+v", actors, products)
			}
			for _, want := range []string{"powershell.exe ×2", "2 exclusions", `C:\x0`, "Defender was told", "An exclusion is set"} {
				if !strings.Contains(words(d), want) {
					t.Errorf("the picture does not say %q: %s", want, words(d))
				}
			}
			var svg bytes.Buffer
			if err := d.SVG(&svg); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(svg.String(), `data-verb="excluded"`) || !strings.Contains(svg.String(), "×2") {
				t.Error("the arrow between them does not count")
			}
		})
	}
}

// Narrow trees share rows, and no row is wider than the picture.
func TestNarrowTreesShareRows(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	root := b.Node(provenance.Process, "root", "root.exe", `C:\d\root.exe`, 0)
	for i := range 6 {
		at := float64(1 + 10*i)
		c := b.Node(provenance.Process, fmt.Sprint("c", i), fmt.Sprintf("child%d.exe", i), fmt.Sprintf(`C:\d\child%d.exe`, i), at)
		f := b.Node(provenance.File, fmt.Sprint("f", i), fmt.Sprintf("file%d", i), fmt.Sprintf(`C:\d%d\file`, i), at+1)
		b.Edge(root, provenance.Started, c, at, 1)
		b.Edge(c, provenance.Wrote, f, at+1, 1)
	}
	made := b.Finish(root, incident.RootInteractive)
	d := New(made.Incident, options(i18n.English, made))
	check(t, made.Incident, d)
	rows := map[int]int{}
	for _, b := range d.Boxes {
		if b.Parent == d.Boxes[0].ID {
			rows[b.Y]++
		}
	}
	if len(rows) > 3 {
		t.Errorf("six trees of two columns take %d rows: %v", len(rows), rows)
	}
}

// What would run far across the picture is a signpost that names its end.
func TestLongArrowsAreStubs(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	root := b.Node(provenance.Process, "root", "root.exe", `C:\d\root.exe`, 0)
	victim := b.Node(provenance.File, "victim", "victim.dll", `C:\d\victim.dll`, 1)
	b.Edge(root, provenance.Wrote, victim, 1, 1)
	last := root
	for i := range 24 {
		at := float64(2 + i)
		c := b.Node(provenance.Process, fmt.Sprint("c", i), fmt.Sprintf("child%d.exe", i), fmt.Sprintf(`C:\d\child%d.exe`, i), at)
		b.Edge(last, provenance.Started, c, at, 1+i)
		last = c
	}
	b.Edge(last, provenance.Deleted, victim, 40, 24)
	made := b.Finish(root, incident.RootInteractive)
	d := New(made.Incident, options(i18n.English, made))
	check(t, made.Incident, d)
	signposts := 0
	for _, a := range d.Arrows {
		if !a.Signpost {
			continue
		}
		signposts++
		var text strings.Builder
		for _, g := range a.label.verb {
			text.WriteString(g.text)
		}
		if a.Verb != provenance.Deleted || length(a.Points) > 10 || !strings.Contains(text.String(), "→ victim.dll") || a.label.step != 24 {
			t.Errorf("the signpost %s of %v says %q", a.ID, a.Points, text.String())
		}
	}
	if signposts != 1 {
		t.Errorf("%d signposts, want 1", signposts)
	}
	var graph bytes.Buffer
	if err := d.JSON(&graph); err != nil {
		t.Fatal(err)
	}
	if strings.Count(graph.String(), `"signpost":true`) != 1 {
		t.Error("the JSON does not tell the signpost")
	}
}
