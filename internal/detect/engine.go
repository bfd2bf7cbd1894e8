package detect

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"ashiato/internal/attack"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/ioc"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
)

// Engine is Sigma rules, correlations and indicators together. It is immutable.
type Engine struct {
	sigma        *sigma.Engine
	correlations *correlation.Set // nil if there are none
	indicators   *ioc.Set
	rules        map[*sigma.Rule]*Rule // and the metadata of correlations
	byIOC        sync.Map              // *ioc.Indicator to its *Rule, made at the first hit
	list         []*Rule               // without indicators
}

// New joins compiled rules and an indicator set into one engine. Either may be
// nil.
func New(rules *sigma.Engine, indicators *ioc.Set) *Engine {
	return NewCorrelating(rules, nil, indicators)
}

// NewCorrelating is New with correlations of the rules, in the order of
// sigma.Correlate. Rules that a correlation names are silent unless it
// generates.
func NewCorrelating(rules *sigma.Engine, correlations []*sigma.Correlation, indicators *ioc.Set) *Engine {
	e := &Engine{sigma: rules, indicators: indicators, rules: map[*sigma.Rule]*Rule{}}
	if rules != nil {
		for _, r := range rules.Rules() {
			d := FromSigma(r)
			e.rules[r] = d
			e.list = append(e.list, d)
		}
	}
	if len(correlations) > 0 {
		e.correlations = correlation.New(correlations)
		for _, c := range correlations {
			d := FromSigma(c.Rule)
			e.rules[c.Rule] = d
			e.list = append(e.list, d)
		}
		for r := range e.correlations.Silent() {
			e.rules[r].Silent = true
		}
	}
	return e
}

// Rules returns every rule and indicator of the engine: the Sigma rules in the
// order they were compiled, the correlations, the indicators in their set's
// order. It makes a Rule of each indicator, which takes kilobytes; see Len.
func (e *Engine) Rules() []*Rule {
	all := slices.Clone(e.list)
	if e.indicators != nil {
		for _, i := range e.indicators.Indicators() {
			all = append(all, e.indicatorRule(i))
		}
	}
	return all
}

// RuleByID returns a function that finds a rule, correlation or indicator by its
// id, and nil for others. It is for one goroutine.
func (e *Engine) RuleByID() func(id string) *Rule {
	byID := make(map[string]*Rule, len(e.list))
	for _, r := range e.list {
		byID[r.ID] = r
	}
	var byIOC map[string]*ioc.Indicator
	return func(id string) *Rule {
		if r := byID[id]; r != nil || e.indicators == nil {
			return r
		}
		if byIOC == nil {
			byIOC = map[string]*ioc.Indicator{}
			for _, i := range e.indicators.Indicators() {
				if id := indicatorID(i); byIOC[id] == nil {
					byIOC[id] = i
				}
			}
		}
		if i := byIOC[id]; i != nil {
			return e.indicatorRule(i)
		}
		return nil
	}
}

// Len returns how many rules, correlations and indicators the engine has.
func (e *Engine) Len() int {
	n := len(e.list)
	if e.indicators != nil {
		n += e.indicators.Len()
	}
	return n
}

// indicatorRule returns the rule of an indicator, always the same one.
func (e *Engine) indicatorRule(i *ioc.Indicator) *Rule {
	if r, ok := e.byIOC.Load(i); ok {
		return r.(*Rule)
	}
	r, _ := e.byIOC.LoadOrStore(i, fromIndicator(i))
	return r.(*Rule)
}

// Correlations returns the engine's correlations, nil if it has none.
func (e *Engine) Correlations() *correlation.Set { return e.correlations }

// Correlated appends the detections of episodes that e's correlations found, in
// their order, and returns dst. Episodes of silent correlations are left out.
func (e *Engine) Correlated(episodes []correlation.Episode, dst []Detection) []Detection {
	for _, ep := range episodes {
		r := e.rules[ep.Correlation.Rule]
		if r == nil || r.Silent {
			continue
		}
		d := Detection{Rule: r, Event: ep.Event, Count: ep.Count, First: ep.First, Last: ep.Last}
		for _, f := range slices.Concat(ep.Group, ep.Matched) {
			if m := (Matched{Field: f.Name, Value: f.Value}); !slices.Contains(d.Matched, m) {
				d.Matched = append(d.Matched, m)
			}
		}
		for _, f := range ep.Belongs {
			d.Belongs = append(d.Belongs, Matched{Field: f.Name, Value: f.Value})
		}
		for _, o := range ep.Cited {
			if o != ep.Event {
				d.Others = append(d.Others, o)
			}
		}
		dst = append(dst, d)
	}
	return dst
}

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
// the order of Compare, and returns dst. It knows nothing of correlations but
// which rules they silence.
func (w *Worker) Detect(e *event.Event, dst []Detection) []Detection {
	dst, _ = w.detect(e, nil, dst, nil, false)
	return dst
}

// Observe is Detect that also appends what correlations are to be told of the
// event, and returns both. resolve may be nil; see correlation.Set.Observe.
func (w *Worker) Observe(e *event.Event, resolve correlation.Resolver, dst []Detection, told []correlation.Observation) ([]Detection, []correlation.Observation) {
	return w.detect(e, resolve, dst, told, w.engine.correlations != nil)
}

func (w *Worker) detect(e *event.Event, resolve correlation.Resolver, dst []Detection, told []correlation.Observation, tell bool) ([]Detection, []correlation.Observation) {
	start := len(dst)
	if w.matcher != nil {
		w.matches = w.matcher.Match(e, w.matches[:0])
		if tell && len(w.matches) > 0 {
			told = w.engine.correlations.Observe(e, w.matches, resolve, told)
		}
		for _, m := range w.matches {
			d := Detection{Rule: w.engine.rules[m.Rule], Event: e}
			if d.Rule.Silent {
				continue
			}
			for _, f := range m.Fields {
				d.Matched = append(d.Matched, Matched{Field: f.Name, Value: f.Value})
			}
			dst = append(dst, d)
		}
	}
	if w.engine.indicators != nil {
		w.hits = w.engine.indicators.Match(e, w.hits[:0])
		for _, h := range w.hits {
			d := Detection{Rule: w.engine.indicatorRule(h.Indicator), Event: e}
			for _, f := range h.Fields {
				d.Matched = append(d.Matched, Matched{Field: f.Name, Value: f.Value})
			}
			dst = append(dst, d)
		}
	}
	slices.SortStableFunc(dst[start:], Compare)
	return dst, told
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
	attack.Sort(d.Attack)
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
	ioc.MD5: "Malware/Ashiato.IndicatorHash.M9901", ioc.SHA1: "Malware/Ashiato.IndicatorHash.M9901",
	ioc.SHA256: "Malware/Ashiato.IndicatorHash.M9901", ioc.IP: "CommandAndControl/Ashiato.IndicatorAddress.M9902",
	ioc.Network: "CommandAndControl/Ashiato.IndicatorAddress.M9902", ioc.Domain: "CommandAndControl/Ashiato.IndicatorDomain.M9903",
	ioc.URL: "CommandAndControl/Ashiato.IndicatorURL.M9904", ioc.Path: "Malware/Ashiato.IndicatorPath.M9905", ioc.FileName: "Malware/Ashiato.IndicatorPath.M9905",
	ioc.Service: "Persistence/Ashiato.IndicatorService.M9906", ioc.Task: "Persistence/Ashiato.IndicatorTask.M9907",
	ioc.Signer: "Malware/Ashiato.IndicatorSigner.M9908",
}

func indicatorID(i *ioc.Indicator) string { return "ioc:" + string(i.Kind) + ":" + i.Value }

func fromIndicator(i *ioc.Indicator) *Rule {
	d := &Rule{
		ID: indicatorID(i), Name: classes[i.Kind],
		Description: i.Description, Severity: High, Behaviour: "indicator-" + string(i.Kind.Group()),
		Texts: Texts{}, Source: i.File,
	}
	if level, err := ParseSeverity(i.Level); err == nil {
		d.Severity = level
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
			Why:     lang.T("ioc." + string(i.Kind.Group()) + ".why"),
			Check:   lang.T("ioc." + string(i.Kind.Group()) + ".check"),
			Benign:  lang.T("ioc." + string(i.Kind.Group()) + ".benign"),
			Action:  lang.T("ioc." + string(i.Kind.Group()) + ".action"),
		}
	}
	d.Title = d.Texts[string(i18n.English)].Title
	return d
}
