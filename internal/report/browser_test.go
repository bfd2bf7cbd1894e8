package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/diagram/browsertest"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
)

func open(t *testing.T, b *browsertest.Browser, d *Document) (address string) {
	t.Helper()
	var out bytes.Buffer
	if err := d.HTML(&out); err != nil {
		t.Fatal(err)
	}
	return b.Open("report.html", out.Bytes())
}

func TestReportInTheBrowser(t *testing.T) {
	b := browsertest.Start(t, 1280)
	for _, lang := range i18n.Langs() {
		shown := append(all(), diagramtest.Hostile())
		if lang == i18n.English {
			shown = append(shown, diagramtest.Large())
		}
		address := open(t, b, document(lang, shown...))
		got := browsertest.Eval[struct {
			Lang    string   `json:"lang"`
			Arrows  int      `json:"arrows"`
			Boxes   int      `json:"boxes"`
			Dead    []string `json:"dead"`
			Bare    []string `json:"bare"`
			Twice   []string `json:"twice"`
			Alien   []string `json:"alien"`
			Wide    float64  `json:"wide"`
			Missing []string `json:"missing"`
			Styled  string   `json:"styled"`
		}](b, `(() => {
  const r = {lang: document.documentElement.lang, dead: [], bare: [], twice: [], alien: [], missing: []};
  r.arrows = document.querySelectorAll('svg a.arrow').length;
  r.boxes = document.querySelectorAll('svg a.box').length;
  for (const a of document.querySelectorAll('a')) {
    const to = a.getAttribute('href');
    if (!to.startsWith('#')) { r.alien.push(to); continue }
    const el = document.getElementById(to.slice(1));
    if (!el) r.dead.push(to);
    else if (a.classList.contains('arrow') && !el.querySelector('.record, .reclink')) r.bare.push(to);
  }
  for (const g of document.querySelectorAll('svg g.arrow[data-from]')) r.bare.push(g.id);
  const ids = new Set();
  for (const el of document.querySelectorAll('[id]')) { if (ids.has(el.id)) r.twice.push(el.id); ids.add(el.id) }
  for (const el of document.querySelectorAll('script, iframe, object, embed, link, base, form, img')) r.alien.push(el.tagName);
  for (const el of document.querySelectorAll('*')) for (const a of el.attributes) if (/^on/i.test(a.name)) r.alien.push(el.tagName + ' ' + a.name);
  r.wide = document.documentElement.scrollWidth;
  for (const w of document.body.innerText.match(/\b(report|diagram|verb|severity|story)\.[a-z][a-z.-]*/g) || [])
    if (!/^report\.html|^diagram\.(html|svg)/.test(w)) r.missing.push(w);
  r.styled = getComputedStyle(document.querySelector('.sev')).color;
  return r;
})()`)
		if got.Lang != string(lang) || got.Arrows < 55 || got.Boxes < 55 {
			t.Errorf("%s: lang %q, %d arrows, %d boxes", lang, got.Lang, got.Arrows, got.Boxes)
		}
		for what, list := range map[string][]string{
			"links lead nowhere": got.Dead, "arrows lead to no record": got.Bare, "ids occur twice": got.Twice,
			"foreign parts": got.Alien, "keys without a text": got.Missing,
		} {
			if len(list) > 0 {
				t.Errorf("%s: %s: %d, such as %s", lang, what, len(list), list[0])
			}
		}
		if got.Wide > 1280 {
			t.Errorf("%s: the page is %v wide", lang, got.Wide)
		}
		if got.Styled != "rgb(255, 255, 255)" {
			t.Errorf("%s: the style sheet does not apply: %s", lang, got.Styled)
		}
		b.Quiet(address)
	}
}

func TestCopyIsTrue(t *testing.T) {
	b := browsertest.Start(t, 1280)
	open(t, b, document(i18n.Japanese, diagramtest.Miner(), diagramtest.Hostile()))
	copied := browsertest.Eval[[]string](b, `(() => {
  const out = new Set();
  for (const d of document.querySelectorAll('details')) d.open = true;
  for (const el of document.querySelectorAll('.t')) {
    const s = getSelection();
    s.removeAllRanges();
    s.selectAllChildren(el);
    out.add(s.toString());
  }
  return [...out];
})()`)
	have := map[string]bool{}
	for _, c := range copied {
		have[c] = true
	}
	for _, want := range []string{
		`C:\Windows \System32\printui.exe`,
		`C:\Windows \System32`,
		`C:\Windows\System32`,
		`cmd /c ""E:\rootdir\x482910.bat" "`,
		`chcp  65001`,
		"invoice\u202efdp.exe",
	} {
		found := have[want]
		for c := range have {
			found = found || want == "invoice\u202efdp.exe" && strings.HasSuffix(c, want)
		}
		if !found {
			t.Errorf("%q cannot be copied", want)
			key := strings.ReplaceAll(want, " ", "")
			for c := range have {
				if strings.ReplaceAll(c, " ", "") == key {
					t.Logf("but %q can", c)
				}
			}
		}
	}
}

func TestNarrowPageDoesNotOverflow(t *testing.T) {
	b := browsertest.Start(t, 390)
	address := open(t, b, document(i18n.Korean, append(all(), diagramtest.Hostile())...))
	if wide := browsertest.Eval[float64](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %v wide on a screen of 390", wide)
		t.Log(browsertest.Eval[[]string](b, `[...document.querySelectorAll('body *')].filter(e => !e.closest('.canvas') && e.getBoundingClientRect().right > 391).slice(0, 5).map(e => e.outerHTML.slice(0, 160))`))
	}
	b.Quiet(address)
}

// TestPrintedReport holds what is on paper: the first page says what happened and
// what to do, the story and the rules follow, and the records stay in the file.
func TestPrintedReport(t *testing.T) {
	// A4 with its margins, in the browser's pixels.
	const wide, high = 688, 1017
	b := browsertest.Start(t, wide)
	b.AsPrinted()
	for _, lang := range i18n.Langs() {
		open(t, b, document(lang, diagramtest.Miner()))
		got := browsertest.Eval[struct {
			First float64  `json:"first"`
			Wide  float64  `json:"wide"`
			Shown []string `json:"shown"`
			Text  string   `json:"text"`
		}](b, `(() => {
  const shown = s => [...document.querySelectorAll(s)].some(e => e.checkVisibility());
  return {first: document.querySelector('.first').getBoundingClientRect().bottom, wide: document.documentElement.scrollWidth,
    shown: ['.canvas svg', '.story li', '.det .refs', '.printonly', '.record', '.object', '.arrowev', '.hits', 'nav', '.jump a'].filter(shown), text: document.body.innerText};
})()`)
		if want := []string{".canvas svg", ".story li", ".det .refs", ".printonly"}; !slices.Equal(got.Shown, want) {
			t.Errorf("%s: %q are printed, want %q", lang, got.Shown, want)
		}
		if got.First > high || got.Wide > wide {
			t.Errorf("%s: what to do ends at %v of %v, the page is %v wide", lang, got.First, high, got.Wide)
		}
		if !strings.Contains(got.Text, lang.T("report.print")) {
			t.Errorf("%s: it does not say where the records are", lang)
		}
	}
}

func TestArrowOpensItsRecords(t *testing.T) {
	b := browsertest.Start(t, 1280)
	c := diagramtest.Miner()
	open(t, b, document(i18n.English, c))
	// The arrow that excluded the imitated folder, by the browser's own click.
	got := browsertest.Eval[struct {
		Hash    string `json:"hash"`
		Visible bool   `json:"visible"`
		Text    string `json:"text"`
		Back    bool   `json:"back"`
	}](b, `(() => {
  const a = [...document.querySelectorAll('svg a.arrow')].find(a => a.dataset.verb === 'excluded');
  a.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}));
  const el = document.getElementById(location.hash.slice(1));
  const back = el.querySelector('a.back').getAttribute('href');
  return {hash: location.hash, visible: el.querySelector('.record').checkVisibility(), text: el.innerText, back: document.getElementById(back.slice(1)) === a};
})()`)
	if got.Hash == "" || !got.Visible || !got.Back {
		t.Errorf("the click leads to %q, visible %v, back %v", got.Hash, got.Visible, got.Back)
	}
	for _, e := range c.Incident.Edges {
		if e.Verb.String() == "excluded" {
			ref := e.Evidence[0]
			for _, want := range []string{ref.Hash(), ref.File, fmt.Sprint(ref.RecordID), ref.Channel, "UtcTime"} {
				if !strings.Contains(got.Text, want) {
					t.Errorf("the section lacks %q", want)
				}
			}
			break
		}
	}
}
