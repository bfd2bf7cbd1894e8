package diagram

import (
	"bytes"
	"testing"

	"ashiato/internal/diagram/browsertest"
	"ashiato/internal/i18n"
)

// texts measures every text of a diagram as it is drawn: each must lie in its
// box, or in the canvas, and on no other.
const texts = `(() => {
  const svg = document.documentElement, bad = [], all = [];
  const W = +svg.getAttribute('width'), H = +svg.getAttribute('height');
  for (const t of document.querySelectorAll('text')) {
    const b = t.getBBox(), size = parseFloat(getComputedStyle(t).fontSize), y = +t.getAttribute('y');
    // The ink of a line, without the leading that getBBox includes.
    const r = {t: t.textContent, x1: b.x, x2: b.x + b.width, y1: y - size * 0.86, y2: y + size * 0.2, size};
    if (size < 11) bad.push('font of ' + size + ' px: ' + r.t);
    const frame = t.closest('.box')?.querySelector('.frame')?.getBBox();
    // The severity's number stands on the frame's corner.
    const out = t.classList.contains('onbar') ? 12 : 0;
    const f = frame ? {x1: frame.x, y1: frame.y - out, x2: Math.min(frame.x + frame.width + out, W), y2: frame.y + frame.height} : {x1: 0, y1: 0, x2: W, y2: H};
    if (r.x1 < f.x1 - 0.5 || r.x2 > f.x2 + 0.5 || r.y1 < f.y1 - 0.5 || r.y2 > f.y2 + 0.5)
      bad.push('outside: ' + JSON.stringify(r) + ' of ' + JSON.stringify(f));
    all.push(r);
  }
  for (let i = 0; i < all.length; i++)
    for (let j = i + 1; j < all.length; j++) {
      const a = all[i], b = all[j];
      if (Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1) > 1 && Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1) > 1)
        bad.push('overlap: ' + JSON.stringify(a) + ' and ' + JSON.stringify(b));
    }
  return {bad, count: all.length, width: svg.getBoundingClientRect().width};
})()`

func TestTextsFitInTheBrowser(t *testing.T) {
	b := browsertest.Start(t, 1280)
	for _, c := range cases {
		for _, lang := range i18n.Langs() {
			made := c.make()
			opt := options(lang, made)
			d := New(made.Incident, opt)
			var svg bytes.Buffer
			if err := d.SVG(&svg); err != nil {
				t.Fatal(err)
			}
			address := b.Open(c.name+"."+string(lang)+".svg", svg.Bytes())
			got := browsertest.Eval[struct {
				Bad   []string `json:"bad"`
				Count int      `json:"count"`
				Width float64  `json:"width"`
			}](b, texts)
			for i, bad := range got.Bad {
				if i == 8 {
					t.Errorf("%s %s: and %d more", c.name, lang, len(got.Bad)-i)
					break
				}
				t.Errorf("%s %s: %s", c.name, lang, bad)
			}
			if got.Count < 8 || got.Width != 1280 {
				t.Errorf("%s %s: %d texts on a canvas %v wide", c.name, lang, got.Count, got.Width)
			}
			b.Quiet(address)
		}
	}
}
