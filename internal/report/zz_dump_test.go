package report

import (
	"os"
	"testing"

	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
)

func TestZZDump(t *testing.T) {
	for _, l := range i18n.Langs() {
		f, _ := os.Create("/tmp/rep." + string(l) + ".html")
		if err := document(l, all()...).HTML(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	f, _ := os.Create("/tmp/rep.hostile.html")
	if err := document("en", diagramtest.Hostile(), diagramtest.Large()).HTML(f); err != nil {
		t.Fatal(err)
	}
	g, _ := os.Create("/tmp/rep.json")
	if err := document("en", diagramtest.Hostile(), diagramtest.Miner()).JSON(g); err != nil {
		t.Fatal(err)
	}
}
