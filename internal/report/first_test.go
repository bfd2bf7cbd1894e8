package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/diagram/browsertest"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

func actionsOf(c *diagramtest.Case) []actionView {
	d := document(i18n.English, c)
	var left []leftView
	for _, p := range c.Incident.Persistence {
		for _, n := range c.Incident.Nodes {
			if n.ID == p.Node {
				left = append(left, leftView{p.Kind, n})
			}
		}
	}
	return d.actions(c.Incident, left)
}

func TestWhatToDoFirst(t *testing.T) {
	var kinds []string
	of := map[string]actionView{}
	for _, a := range actionsOf(diagramtest.Miner()) {
		kinds = append(kinds, a.Kind)
		of[a.Kind] = a
	}
	if want := []string{"volume", "service", "task", "exclusion", "file", "folder", "unhide"}; !slices.Equal(kinds, want) {
		t.Errorf("the actions are %q, want %q", kinds, want)
	}
	if got := of["volume"].Items; len(got) != 1 || got[0] != (itemView{"E:", "4C53-0B77"}) {
		// F: is in no step of this fixture.
		t.Errorf("volumes %v", got)
	}
	if got := of["service"].Items; len(got) != 1 || got[0].Name != "x617283" {
		t.Errorf("services %v", got)
	}
	if got := of["exclusion"]; len(got.Items) != 2 || !got.Marked {
		t.Errorf("exclusions %+v", got)
	}
	if got := of["file"]; len(got.Items) != 3 || got.Marked {
		t.Errorf("files %+v", got)
	}
	if got := of["folder"]; len(got.Items) != 1 || got.Items[0].Name != `C:\Windows \System32` || !got.Marked {
		t.Errorf("folders %+v", got)
	}
}

// A stick is named once, wherever it was, and its files go with it.
func TestSticksAreQuarantinedOnce(t *testing.T) {
	b := diagramtest.NewBuilder("H1")
	stick := b.Node(provenance.Volume, "F", "F:", "F:", 0, "Serial=S1")
	host := b.Node(provenance.Host, "H1", "H1", "", 0)
	on := b.Node(provenance.File, "lnk", "a.lnk", `F:\a.lnk`, 1)
	off := b.Node(provenance.File, "dat", "b.dat", `C:\b.dat`, 1)
	b.Edge(stick, provenance.Attached, host, 0, 1)
	b.Edge(stick, provenance.Contains, on, 1, 1)
	b.Edge(host, provenance.Contains, off, 1, 1)
	b.Host = "H2"
	again := b.Node(provenance.Volume, "E", "E:", "E:", 5, "Serial=S1")
	second := b.Node(provenance.Host, "H2", "H2", "", 5)
	b.Edge(again, provenance.Attached, second, 5, 2)
	b.Incident.Persistence = []incident.Persistence{{Node: on, Kind: "file"}, {Node: off, Kind: "file"}}
	var got []string
	for _, a := range actionsOf(b.Finish(stick, incident.RootVolume)) {
		for _, i := range a.Items {
			got = append(got, a.Host+" "+a.Kind+" "+i.Name)
		}
	}
	if want := []string{"H1 volume F:", `H1 file C:\b.dat`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEncryptedFilesAreKept holds that nobody is told to delete a victim's own
// files, and that what encrypts is stopped on all hosts first.
func TestEncryptedFilesAreKept(t *testing.T) {
	for _, c := range []struct {
		severity detect.Severity
		want     []string
	}{
		{detect.High, []string{"H2 isolate ", `H1 file C:\a.exe`, `H2 file C:\b.exe`, `H2 encrypted D:\0.dwg.locked`, `H2 encrypted D:\1.dwg.locked`, `H2 encrypted D:\2.dwg.locked`, "H2 encrypted and 2"}},
		// One name that looks so proves nothing.
		{detect.Informational, []string{`H1 file C:\a.exe`, `H2 file C:\b.exe`, `H2 file D:\0.dwg.locked`, `H2 file D:\1.dwg.locked`, `H2 file D:\2.dwg.locked`, `H2 file D:\3.dwg.locked`, `H2 file D:\4.dwg.locked`}},
	} {
		b := diagramtest.NewBuilder("H1")
		left := func(id, path string) provenance.NodeID {
			f := b.Node(provenance.File, id, id, path, 1)
			b.Incident.Persistence = append(b.Incident.Persistence, incident.Persistence{Node: f, Kind: "file"})
			return f
		}
		p := b.Node(provenance.Process, "p", "p.exe", `C:\p.exe`, 0)
		b.Edge(p, provenance.Wrote, left("a", `C:\a.exe`), 1, 1)
		b.Host = "H2"
		b.Edge(p, provenance.Wrote, left("b", `C:\b.exe`), 1, 1)
		for i := range 5 {
			f := left(fmt.Sprint(i), fmt.Sprintf(`D:\%d.dwg.locked`, i))
			b.Edge(p, provenance.Wrote, f, 2, 2)
			b.Detect(f, diagramtest.Rule("second", "Impact/Second", detect.Informational, "T1486", "", "", ""), 2)
			if i == 0 {
				b.Detect(f, diagramtest.Rule("many", "Impact/Many", c.severity, "T1486", "", "", ""), 2)
			}
		}
		var got []string
		for _, a := range actionsOf(b.Finish(p, incident.RootInteractive)) {
			if len(a.Items) == 0 {
				got = append(got, a.Host+" "+a.Kind+" ")
			}
			for _, i := range a.Items {
				got = append(got, a.Host+" "+a.Kind+" "+i.Name)
			}
			if a.More > 0 {
				got = append(got, fmt.Sprint(a.Host, " ", a.Kind, " and ", a.More))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%q, want\n%q", c.severity, got, c.want)
		}
	}
}

// TestStepsNameTheirRules holds that a step of the story names the most severe rules
// that held there, each once.
func TestStepsNameTheirRules(t *testing.T) {
	rule := func(id string, s detect.Severity) detectionView {
		return detectionView{Placed: incident.Placed{Detection: detect.Detection{Rule: &detect.Rule{ID: id, Severity: s}}}, Level: int(s)}
	}
	all := []detectionView{
		rule("a", detect.Low), rule("b", detect.High), rule("b", detect.High), rule("c", detect.Informational), rule("d", detect.Medium), rule("e", detect.Critical),
	}
	for _, c := range []struct {
		at   []int
		want string
		more int
	}{
		{nil, "", 0},
		{[]int{0}, "a", 0},
		{[]int{3}, "", 0},
		{[]int{0, 1, 2}, "ba", 0},
		{[]int{0, 1, 2, 3, 4, 99}, "bd", 1},
		{[]int{1, 5}, "eb", 0},
	} {
		var s stepView
		s.found(c.at, all)
		got := ""
		for _, d := range s.Found {
			got += d.Rule.ID
		}
		if got != c.want || s.More != c.more {
			t.Errorf("%v: %q and %d more, want %q and %d", c.at, got, s.More, c.want, c.more)
		}
	}
}

// TestWhoIsNamedAtTheHead holds the accounts and the processes without an end.
func TestWhoIsNamedAtTheHead(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	logon := b.Node(provenance.Logon, "l", "adm", "", 0, "TargetUserName=adm")
	other := b.Node(provenance.Logon, "m", "guest", "", 0, "TargetUserName=guest")
	p := b.Node(provenance.Process, "p", "p.exe", `C:\p.exe`, 1, `User=CORP\adm`, "ProcessId=7")
	q := b.Node(provenance.Process, "q", "q.exe", `C:\q.exe`, 2, `User=NT AUTHORITY\SYSTEM`, "ProcessId=9")
	context := b.Node(provenance.Process, "r", "r.exe", `C:\r.exe`, 3, `User=CORP\mori`)
	b.Edge(logon, provenance.LoggedOn, p, 1, 1)
	b.Edge(other, provenance.LoggedOn, p, 1, 1)
	b.Edge(p, provenance.Started, q, 2, 2)
	b.Edge(p, provenance.Started, context, 3, 0)
	b.Incident.Impact.Running = []provenance.NodeID{q, p}
	c := b.Finish(logon, incident.RootRemoteLogon)
	inc := c.Incident
	if got, want := accounts(inc), (named{[]string{"guest", `CORP\adm`, `NT AUTHORITY\SYSTEM`}, 0}); !slices.Equal(got.Names, want.Names) || got.More != 0 {
		t.Errorf("accounts %+v, want %+v", got, want)
	}
	if got := running(inc); !slices.Equal(got.Names, []string{"p.exe (7)", "q.exe (9)"}) || got.More != 0 {
		t.Errorf("running %+v", got)
	}
	var text bytes.Buffer
	if err := document(i18n.English, c).Text(&text, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := "2 processes without a recorded end: p.exe (7), q.exe (9)"; !strings.Contains(text.String(), want) {
		t.Errorf("the text lacks %q:\n%s", want, text.String())
	}
	if got := firstOf([]string{"1", "2", "3", "4", "5", "6"}); len(got.Names) != maxNamed || got.More != 2 {
		t.Errorf("%+v", got)
	}
}

func TestManyThingsAreCounted(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	p := b.Node(provenance.Process, "p", "p.exe", `C:\p.exe`, 0)
	for i := range 40 {
		f := b.Node(provenance.File, fmt.Sprint(i), fmt.Sprint(i), fmt.Sprintf(`C:\f%02d`, i), 1)
		b.Edge(p, provenance.Wrote, f, 1, 1)
		b.Incident.Persistence = append(b.Incident.Persistence, incident.Persistence{Node: f, Kind: "file"})
	}
	got := actionsOf(b.Finish(p, incident.RootInteractive))
	if len(got) != 1 || len(got[0].Items) != maxItems || len(got[0].Items)+got[0].More != 40 {
		t.Errorf("%+v", got)
	}
}

// An incident that left nothing gets what its rules advise, the most severe first.
func TestAdviceOfRules(t *testing.T) {
	c := diagramtest.Hosts()
	got := actionsOf(c)
	if len(got) != 2 || got[0].Text != "Action: A service was made from another computer" || got[1].Text != "Action: Credentials were read from memory" {
		t.Errorf("%+v", got)
	}
	c.Incident.Detections = append(c.Incident.Detections, incident.Placed{Detection: detect.Detection{}})
	if len(actionsOf(c)) != 2 {
		t.Error("a detection without a rule has advice")
	}
}

// What matters stands before the diagram: what it was, what is left, what to do.
func TestEssenceComesFirst(t *testing.T) {
	b := browsertest.Start(t, 1280)
	for _, lang := range i18n.Langs() {
		open(t, b, document(lang, diagramtest.Miner()))
		got := browsertest.Eval[struct {
			Title, First, Diagram, Story float64
			Text                         string
			Items                        int
		}](b, `(() => {
  const y = s => document.querySelector(s).getBoundingClientRect();
  return {Title: y('.incident h2').top, First: y('.first').bottom, Diagram: y('.canvas').top, Story: y('.story').top,
    Text: document.querySelector('.essence').innerText, Items: document.querySelectorAll('.first ol>li').length};
})()`)
		if !(got.Title < got.First && got.First < got.Diagram && got.Diagram < got.Story) {
			t.Errorf("%s: the order is %+v", lang, got)
		}
		if got.Items != 7 {
			t.Errorf("%s: %d actions", lang, got.Items)
		}
		if got.First > 900 {
			t.Errorf("%s: what to do ends at %v, below the first screen", lang, got.First)
		}
		for _, want := range []string{"E:", "4C53-0B77", "HOST-1", "x617283", "console_zero", lang.T("report.do.exclusion"), lang.Count("diagram.group.exclusion", 2), lang.T("report.do.marked")} {
			if !strings.Contains(got.Text, want) {
				t.Errorf("%s: the essence lacks %q: %s", lang, want, got.Text)
			}
		}
	}
}

// A name of the incident is inert in the actions too.
func TestActionsAreInert(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	p := b.Node(provenance.Service, "s", "<img src=x onerror=alert(1)>", "", 0)
	q := b.Node(provenance.Process, "p", "p.exe", `C:\p.exe`, 1)
	b.Edge(p, provenance.RanAs, q, 1, 1)
	b.Incident.Persistence = []incident.Persistence{{Node: p, Kind: "service"}}
	var out bytes.Buffer
	if err := document(i18n.English, b.Finish(p, incident.RootInteractive)).HTML(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "<img") || !strings.Contains(out.String(), "&lt;img src=x") {
		t.Error("a service's name is markup")
	}
}
