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
