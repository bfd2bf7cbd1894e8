package detect

import (
	"fmt"
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/ioc"
	"ashiato/internal/sigma"
)

// Engine is Sigma rules and indicators together. It is immutable.
type Engine struct {
	sigma      *sigma.Engine
	indicators *ioc.Set
	rules      map[*sigma.Rule]*Rule
	byIOC      map[*ioc.Indicator]*Rule
	list       []*Rule
}

// New joins compiled rules and an indicator set into one engine. Either may be
// nil.
func New(rules *sigma.Engine, indicators *ioc.Set) *Engine {
	e := &Engine{sigma: rules, indicators: indicators, rules: map[*sigma.Rule]*Rule{}, byIOC: map[*ioc.Indicator]*Rule{}}
	if rules != nil {
		for _, r := range rules.Rules() {
			d := FromSigma(r)
			e.rules[r] = d
			e.list = append(e.list, d)
		}
	}
	if indicators != nil {
		for _, i := range indicators.Indicators() {
			d := fromIndicator(i)
			e.byIOC[i] = d
			e.list = append(e.list, d)
		}
	}
	return e
}

// Rules returns every rule and indicator of the engine: the Sigma rules in the
// order they were compiled, then the indicators in their set's order.
func (e *Engine) Rules() []*Rule { return slices.Clone(e.list) }

// Worker evaluates an Engine. Each goroutine needs one of its own.
type Worker struct {
	engine  *Engine
	matcher *sigma.Matcher
	matches []sigma.Match
	hits    []ioc.Hit
}

// Worker returns a new Worker.
func (e *Engine) Worker() *Worker {
	w := &Worker{engine: e}
	if e.sigma != nil {
		w.matcher = e.sigma.Matcher()
	}
	return w
}

// Detect appends what e's rules and indicators say of a normalised event, in
// the order of Compare, and returns dst.
func (w *Worker) Detect(e *event.Event, dst []Detection) []Detection {
	start := len(dst)
	if w.matcher != nil {
		w.matches = w.matcher.Match(e, w.matches[:0])
		for _, m := range w.matches {
			d := Detection{Rule: w.engine.rules[m.Rule], Event: e}
			for _, f := range m.Fields {
				d.Matched = append(d.Matched, Matched{Field: f.Name, Value: f.Value})
			}
			dst = append(dst, d)
		}
	}
	if w.engine.indicators != nil {
		w.hits = w.engine.indicators.Match(e, w.hits[:0])
		for _, h := range w.hits {
			d := Detection{Rule: w.engine.byIOC[h.Indicator], Event: e}
			for _, f := range h.Fields {
				d.Matched = append(d.Matched, Matched{Field: f.Name, Value: f.Value})
			}
			dst = append(dst, d)
		}
	}
	slices.SortStableFunc(dst[start:], Compare)
	return dst
}

// FromSigma describes a Sigma rule as detections cite it.
func FromSigma(r *sigma.Rule) *Rule {
	severity, err := ParseSeverity(r.Level)
	if err != nil { // Parse has checked the level
		panic(fmt.Errorf("rule %q: %w", r.Title, err))
	}
	d := &Rule{
		ID: r.Key(), Name: r.Extension.Name, Aliases: slices.Clone(r.Extension.Aliases),
		Title: r.Title, Description: strings.TrimSpace(r.Description), Severity: severity,
		Attack: slices.Clone(r.Attack), Tactics: slices.Clone(r.Tactics),
		Behaviour: r.Extension.Behaviour, Source: r.File,
	}
	if d.Name == "" {
		d.Name = r.Title
	}
	if len(r.Extension.Texts) > 0 {
		d.Texts = Texts{}
		for lang, t := range r.Extension.Texts {
			d.Texts[lang] = RuleText(t)
		}
	}
	return d
}

// classes name an indicator's detection, by what was seen.
var classes = map[ioc.Kind]string{
	ioc.MD5: "Malware/Ashiato.IndicatorHash.M2001", ioc.SHA1: "Malware/Ashiato.IndicatorHash.M2001",
	ioc.SHA256: "Malware/Ashiato.IndicatorHash.M2001", ioc.IP: "CommandAndControl/Ashiato.IndicatorAddress.M2002",
	ioc.Network: "CommandAndControl/Ashiato.IndicatorAddress.M2002", ioc.Domain: "CommandAndControl/Ashiato.IndicatorDomain.M2003",
	ioc.URL: "CommandAndControl/Ashiato.IndicatorURL.M2004", ioc.Path: "Malware/Ashiato.IndicatorPath.M2005",
}

func fromIndicator(i *ioc.Indicator) *Rule {
	d := &Rule{
		ID: "ioc:" + string(i.Kind) + ":" + i.Value, Name: classes[i.Kind],
		Description: i.Description, Severity: High, Behaviour: "indicator-" + string(i.Kind.Group()),
		Texts: Texts{}, Source: i.File,
	}
	for _, lang := range i18n.Langs() {
		kind := lang.T("ioc.kind." + string(i.Kind))
		about := i.Description
		if about == "" {
			about = lang.T("ioc.nodescription")
		}
		d.Texts[string(lang)] = RuleText{
			Title:   lang.T("ioc."+string(i.Kind.Group())+".title", kind, i.Value),
			Meaning: lang.T("ioc."+string(i.Kind.Group())+".meaning", about, i.File),
			Check:   lang.T("ioc." + string(i.Kind.Group()) + ".check"),
			Benign:  lang.T("ioc." + string(i.Kind.Group()) + ".benign"),
			Action:  lang.T("ioc." + string(i.Kind.Group()) + ".action"),
		}
	}
	d.Title = d.Texts[string(i18n.English)].Title
	return d
}
