package scan

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/source/files"
	"ashiato/internal/visible"
)

// checked is a file of testdata/checked: which recording, which incident of it,
// what the analysis says, and what a person who read the records says to that.
type checked struct {
	recording string   // below the folder of recordings
	holds     []string // records; the incident is the one that cites most of them
	golden    string
	note      string
}

const noteLine = "== checked by hand ==\n"

func parseChecked(text string) (checked, error) {
	var c checked
	head, rest, ok := strings.Cut(text, "\n\n")
	if !ok {
		return c, fmt.Errorf("no blank line after the head")
	}
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case ok && name == "recording":
			c.recording = value
		case ok && name == "holds":
			c.holds = strings.Fields(value)
		default:
			return c, fmt.Errorf("the head holds %q", line)
		}
	}
	if c.recording == "" || len(c.holds) == 0 {
		return c, fmt.Errorf("the head names no recording or no record")
	}
	if c.golden, c.note, ok = strings.Cut(rest, noteLine); !ok {
		return c, fmt.Errorf("no line %q", noteLine)
	}
	return c, nil
}

// recordName is how a golden file names a record: by its number, or where the
// recording has no numbers by its offset, as reports do.
func recordName(r event.EvidenceRef) string {
	if r.RecordID > 0 {
		return "#" + strconv.FormatUint(r.RecordID, 10)
	}
	return "@" + strconv.FormatInt(r.Offset, 10)
}

func recordNames(refs []event.EvidenceRef) string {
	var names []string
	for _, r := range refs {
		names = append(names, recordName(r))
	}
	return strings.Join(names, " ")
}

var named = regexp.MustCompile(`[#@][0-9]+`)

// TestChecked holds the incidents of ten recordings as they were when somebody
// read the raw records beside them, and that every record a note names is there.
// What is wrong with an incident stands in its note.
func TestChecked(t *testing.T) {
	paths, err := filepath.Glob("testdata/checked/*.txt")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d checked incidents, error %v", len(paths), err)
	}
	eng := engine(t)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parseChecked(string(text))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for _, part := range []string{"What happened", "Right:", "Wrong:", "Missing:"} {
				if !strings.Contains(c.note, part) {
					t.Errorf("%s: the note has no part %q", path, part)
				}
			}
			recording := corpus.Dir(t, c.recording)
			r := run(t, Options{Paths: []string{recording}, Engine: eng})
			got := describe(r, pick(r.Incidents, c.holds))
			if *update {
				head, _, _ := strings.Cut(string(text), "\n\n")
				if err := os.WriteFile(path, []byte(head+"\n\n"+got+noteLine+c.note), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != c.golden {
				t.Errorf("%s differs; read the note, and run with -update if the new one is no worse:\n%s", path, gocmp.Diff(strings.Split(c.golden, "\n"), strings.Split(got, "\n")))
			}

			if info, err := os.Stat(recording); err != nil || info.Size() > 1<<20 && os.Getenv("ASHIATO_FULL") == "" {
				t.Skip("whether the recording has the records of the note: only with ASHIATO_FULL=1, it is large")
			}
			there := map[string]bool{}
			var mu sync.Mutex
			files.Scan(t.Context(), []string{recording}, files.Options{}, func(batch []*event.Event) {
				mu.Lock()
				defer mu.Unlock()
				for _, e := range batch {
					there[recordName(e.Ref)] = true
				}
			})
			for _, name := range append(named.FindAllString(c.note, -1), c.holds...) {
				if !there[name] {
					t.Errorf("%s names the record %s, which the recording does not have", path, name)
				}
			}
		})
	}
}

// pick returns the incident that cites most of the records, nil if none does.
func pick(incidents []*incident.Incident, holds []string) *incident.Incident {
	var best *incident.Incident
	most := 0
	for _, inc := range incidents {
		cites := map[string]bool{}
		for _, d := range inc.Detections {
			for _, e := range d.Records() {
				cites[recordName(e.Ref)] = true
			}
		}
		for _, e := range inc.Edges {
			for _, ref := range e.Evidence {
				cites[recordName(ref)] = true
			}
		}
		n := 0
		for _, h := range holds {
			if cites[h] {
				n++
			}
		}
		if n > most {
			best, most = inc, n
		}
	}
	return best
}

// describe writes an incident as a person would note it down.
func describe(r *Result, inc *incident.Incident) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if inc == nil {
		put("no incident")
	} else {
		describeIncident(put, inc)
	}
	put("")
	put("other incidents of the recording:")
	for _, other := range r.Incidents {
		if other != inc {
			put("  %s: %s", other.Severity, cut(other.Title(i18n.English), 120))
		}
	}
	return b.String() + "\n"
}

func describeIncident(put func(string, ...any), inc *incident.Incident) {
	nodes := map[provenance.NodeID]*provenance.Node{}
	for _, n := range inc.Nodes {
		nodes[n.ID] = n
	}
	name := func(id provenance.NodeID) string {
		n := nodes[id]
		if n == nil {
			return "not drawn: " + short(string(id), 60)
		}
		text := cmp.Or(n.Label, n.Path)
		if n.Kind == provenance.Process {
			if pid := n.Attr("ProcessId"); pid != "" {
				text += "(" + pid + ")"
			}
		} else {
			text = n.Kind.String() + " " + text
		}
		if len(inc.Hosts) > 1 {
			host, _, _ := strings.Cut(n.Host, ".")
			text = host + "/" + text
		}
		return short(text, 70)
	}
	root := func(r incident.Root) string {
		var path []string
		for _, id := range r.Path {
			path = append(path, name(id))
		}
		return fmt.Sprintf("%s, %s: %s", r.Kind, r.Confidence, strings.Join(path, " → "))
	}

	put("%s: %s", inc.Severity, inc.Title(i18n.English))
	put("root: %s", root(inc.Root))
	for _, a := range inc.Alternatives {
		put("  or: %s", root(a))
	}
	put("hosts: %s", strings.Join(inc.Hosts, " "))
	put("time: %s – %s", inc.First.UTC().Format("2006-01-02 15:04:05.000"), inc.Last.UTC().Format("2006-01-02 15:04:05.000"))
	put("")
	put("story:")
	for _, s := range inc.Story {
		behaviours := ""
		if len(s.Behaviours) > 0 {
			behaviours = " {" + strings.Join(s.Behaviours, ", ") + "}"
		}
		put("  %d. %s%s", s.Number, cut(inc.Sentence(s, i18n.English), 240), behaviours)
	}
	put("detections:")
	for _, d := range inc.Detections {
		var refs []event.EvidenceRef
		for _, e := range d.Records() {
			refs = append(refs, e.Ref)
		}
		put("  %s %s on %s  [%s]", d.Rule.Severity, d.Rule.Title, name(d.Node), recordNames(refs))
	}
	if len(inc.Persistence) > 0 {
		put("left behind:")
		for _, p := range inc.Persistence {
			put("  %s: %s", p.Kind, name(p.Node))
		}
	}
	if len(inc.SmallestCut) > 0 {
		put("smallest cut:")
		for _, a := range inc.SmallestCut {
			put("  %s: %s", a.Kind, name(a.Node))
		}
	}
	list := func(what string, ids []provenance.NodeID) {
		var names []string
		for _, id := range ids {
			names = append(names, name(id))
		}
		if len(names) > 0 {
			put("%s: %s", what, strings.Join(names, ", "))
		}
	}
	list("files dropped", inc.Impact.Dropped)
	list("hidden", inc.Impact.Hidden)
	list("still running", inc.Impact.Running)
	for _, e := range inc.Impact.Exposed {
		put("exposed: %s by %s", e.User, name(e.Reader))
	}
	if len(inc.Gaps) > 0 {
		put("gaps:")
		for _, g := range inc.Gaps {
			put("  %s %s %s ×%d [%s]", g.Host, g.Channel, g.Reason, g.Count, recordNames(g.Evidence))
		}
	}
	put("arrows (step, class and join, records):")
	lines := make([]string, len(inc.Edges))
	for i, e := range inc.Edges {
		step := "context"
		if n := inc.EdgeSteps[i]; n > 0 {
			step = strconv.Itoa(n)
		}
		count := ""
		if e.Count > 1 {
			count = fmt.Sprintf(" ×%d", e.Count)
		}
		lines[i] = fmt.Sprintf("  %s: %s —%s(%s, %s)→ %s  [%s]%s", step, name(e.From), e.Verb, e.Class, e.Join, name(e.To), recordNames(e.Evidence), count)
	}
	put("%s", strings.Join(lines, "\n"))
}

// short makes telemetry text one line of at most so many characters.
func short(s string, most int) string { return cut(visible.Text(s), most) }

// cut leaves a text's first characters.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}
