package diagram

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Phase is a part of an intrusion: the steps of the story that serve one end.
type Phase struct {
	// Key is the stable word: "entry", "execution", "privilege-escalation",
	// "defence-evasion", "persistence", "mining", "impact", "credential-access",
	// "lateral-movement", "collection", "exfiltration", "command-and-control",
	// "discovery".
	Key string
	// Steps are the numbers of its steps, ascending, and First is when the
	// first of them began.
	Steps []int
	First time.Time
}

// A step with signs of several phases takes the first in this order: what an
// intrusion is for says more than how it went about it. A tactic says less than
// a behaviour, and evasion is a tactic of nearly everything.
var (
	phasesOfBehaviours = []string{
		"lateral-movement", "mining", "impact", "credential-access", "exfiltration",
		"collection", "command-and-control", "persistence", "defence-evasion",
		"privilege-escalation", "entry", "execution", "discovery",
	}
	phasesOfTactics = []string{
		"lateral-movement", "impact", "credential-access", "exfiltration", "collection", "persistence",
		"privilege-escalation", "entry", "execution", "discovery", "defence-evasion",
	}
)

// phaseOfBehaviour maps the stable words of Step.Behaviours. Words that occur in
// any phase, such as a known hash or a dropped program, are not in it.
var phaseOfBehaviour = map[string]string{
	"remote-logon":        "entry",
	"usb-script":          "entry",
	"script-execution":    "execution",
	"download":            "execution",
	"auto-elevation":      "privilege-escalation",
	"elevation":           "privilege-escalation",
	"mock-folder":         "privilege-escalation",
	"side-load":           "privilege-escalation",
	"uac-bypass":          "privilege-escalation",
	"cleanup":             "defence-evasion",
	"defender-exclusion":  "defence-evasion",
	"defense-tampering":   "defence-evasion",
	"hidden-files":        "defence-evasion",
	"injection":           "defence-evasion",
	"log-cleared":         "defence-evasion",
	"persistence":         "persistence",
	"service-dll":         "persistence",
	"service-persistence": "persistence",
	"service-run":         "persistence",
	"task-persistence":    "persistence",
	"credential-theft":    "credential-access",
	"mining":              "mining",
	"miner-setup":         "mining",
	"impact":              "impact",
	"resource-use":        "impact",
	"lateral-movement":    "lateral-movement",
	"usb-spread":          "lateral-movement",
	"collection":          "collection",
	"discovery":           "discovery",
	"exfiltration":        "exfiltration",
	"tunnel":              "command-and-control",
}

// phaseOfTactic maps ATT&CK's tactics, for rules without a behaviour. Several
// name what a technique may be for, so these decide only where nothing else does.
var phaseOfTactic = map[string]string{
	"initial-access":       "entry",
	"execution":            "execution",
	"privilege-escalation": "privilege-escalation",
	"defense-evasion":      "defence-evasion",
	"defense-impairment":   "defence-evasion",
	"stealth":              "defence-evasion",
	"persistence":          "persistence",
	"credential-access":    "credential-access",
	"impact":               "impact",
	"lateral-movement":     "lateral-movement",
	"collection":           "collection",
	"discovery":            "discovery",
	"exfiltration":         "exfiltration",
}

// phaseOfStory maps sentences that tell of a phase without a detection.
var phaseOfStory = map[string]string{
	"volume-elsewhere": "lateral-movement",
	"task-ran":         "persistence",
}

// Phases are the phases of an incident's story in order of time. A step that
// shows none belongs to the phase around it, if the steps before and after are
// of one; what led from the root cause to the first detection is the entry.
func Phases(inc *incident.Incident) []Phase {
	ofNode := map[provenance.NodeID][]incident.Placed{}
	for _, p := range inc.Detections {
		ofNode[p.Node] = append(ofNode[p.Node], p)
	}
	story := slices.Clone(inc.Story)
	slices.SortStableFunc(story, func(a, b incident.Step) int { return cmp.Compare(a.Number, b.Number) })
	of := make([]string, len(story))
	for i, s := range story {
		of[i] = phaseOfStep(inc, s, ofNode)
	}
	// The way in.
	if i := slices.IndexFunc(of, func(p string) bool { return p != "" }); i > 0 && inc.Root.Kind != incident.RootBeforeRecord {
		for k := range i {
			of[k] = "entry"
		}
	}
	for i := 0; i < len(of); { // holes within a phase
		end := i + 1
		for end < len(of) && of[end] == "" {
			end++
		}
		if of[i] != "" && end < len(of) && of[end] == of[i] {
			for k := i + 1; k < end; k++ {
				of[k] = of[i]
			}
		}
		i = end
	}
	var out []Phase
	for i, s := range story {
		if of[i] == "" {
			continue
		}
		k := slices.IndexFunc(out, func(p Phase) bool { return p.Key == of[i] })
		if k < 0 {
			out = append(out, Phase{Key: of[i], First: s.Time})
			k = len(out) - 1
		}
		out[k].Steps = append(out[k].Steps, s.Number)
		if s.Time.Before(out[k].First) {
			out[k].First = s.Time
		}
	}
	slices.SortStableFunc(out, func(a, b Phase) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Steps[0], b.Steps[0])) })
	return out
}

// phaseOfStep is the phase that a step shows, "" for none.
func phaseOfStep(inc *incident.Incident, s incident.Step, ofNode map[provenance.NodeID][]incident.Placed) string {
	acts, tactics := map[string]bool{}, map[string]bool{}
	for _, b := range s.Behaviours {
		acts[phaseOfBehaviour[b]] = true
	}
	if first := firstOf(phasesOfBehaviours, acts); first != "" {
		return first
	}
	if p := phaseOfStory[s.Key]; p != "" {
		return p
	}
	for _, i := range s.Edges {
		if i < 0 || i >= len(inc.Edges) {
			continue
		}
		for _, p := range ofNode[inc.Edges[i].To] {
			if p.Rule == nil {
				continue
			}
			acts[phaseOfBehaviour[p.Rule.Behaviour]] = true
			for _, t := range p.Rule.Tactics {
				tactics[phaseOfTactic[t]] = true
			}
		}
	}
	if first := firstOf(phasesOfBehaviours, acts); first != "" {
		return first
	}
	return firstOf(phasesOfTactics, tactics)
}

// firstOf is the first key that is in the set, "" if none is.
func firstOf(keys []string, set map[string]bool) string {
	for _, k := range keys {
		if set[k] {
			return k
		}
	}
	return ""
}

// Name is the phase's name in the language.
func (p Phase) Name(lang i18n.Lang) string { return lang.T("diagram.phase." + p.Key) }

// Numbers are the phase's steps as a reader writes them: "1–3, 7".
func (p Phase) Numbers() string {
	var parts []string
	for i := 0; i < len(p.Steps); {
		end := i
		for end+1 < len(p.Steps) && p.Steps[end+1] == p.Steps[end]+1 {
			end++
		}
		part := strconv.Itoa(p.Steps[i])
		if end > i {
			part += "–" + strconv.Itoa(p.Steps[end])
		}
		parts = append(parts, part)
		i = end + 1
	}
	if len(parts) > maxRuns {
		parts = append(parts[:maxRuns], "…")
	}
	return strings.Join(parts, ", ")
}

// maxRuns is how many runs of steps a phase's numbers name.
const maxRuns = 4

// Distances of the strip of phases.
const (
	chipHeight = 26
	chipGap    = 18 // between chips: room for the arrow
	chipPad    = 6
)

// strip places the phases from y on and returns where they end.
func (d *Diagram) strip(y float64) float64 {
	d.phases = Phases(d.inc)
	if len(d.phases) < 2 { // one alone tells no story
		return y
	}
	x := float64(margin)
	for i, p := range d.phases {
		numbers := plain(p.Numbers(), fontBadge)
		name := plain(p.Name(d.opt.Lang), fontChip)
		at := plain(d.clock(p.First), fontFoot)
		pill := width(numbers) + 10
		w := chipPad + pill + 5 + width(name) + 6 + width(at) + chipPad
		if i > 0 {
			if x+chipGap+w > float64(d.Width-margin) {
				x = margin
				y += chipHeight + 6
			} else {
				d.head = append(d.head, placed{x: x + 1, y: y + chipHeight/2, shape: shapeNext})
				x += chipGap
			}
		}
		d.head = append(d.head,
			placed{x: x, y: y, shape: shapeChip, n: int(w)},
			placed{x: x + chipPad, y: y + 5, shape: shapeNumbers, n: int(pill), gs: numbers, f: fontBadge, class: "numtext"},
			placed{x: x + chipPad + pill + 5, y: y + 18, gs: name, f: fontChip, class: "phasename"},
			placed{x: x + w - chipPad - width(at), y: y + 17.5, gs: at, f: fontFoot, class: "foot"},
		)
		x += w
	}
	return y + chipHeight
}
