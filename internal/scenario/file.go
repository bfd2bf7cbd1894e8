package scenario

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// file is a scenario's text, taken apart but not yet read: what varies is still
// open.
type file struct {
	name    string
	comment string
	parts   []part
	choices map[string]*choice
	varied  []*line // of the vary section, apart from what restricts choices
	allowed map[string][]string
}

// part is a section with its lines.
type part struct {
	place
	name  string
	lines []*line
}

// sectionNames are the sections, in the order in which they are usually written.
var sectionNames = []string{
	"settings", "vary", "vars", "hosts", "volumes", "contents", "steps", "background", "expect",
}

// openFile takes a scenario's text apart.
func openFile(name string, data []byte) (*file, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: %d bytes: a scenario has at most %d", name, len(data), maxSize)
	}
	f := &file{name: name, choices: map[string]*choice{}, allowed: map[string][]string{}}
	comment, sections := sections(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))
	if !strings.Contains(strings.ToLower(comment), "synthetic") {
		return nil, fmt.Errorf("%s:1: the text above the first section must say that the scenario is synthetic", name)
	}
	f.comment = comment
	seen := map[string]bool{}
	for _, s := range sections {
		p := part{place{name, s.line - 1}, s.name, nil}
		switch {
		case seen[p.name]:
			return nil, p.errorf("section %q occurs twice", p.name)
		case !slices.Contains(sectionNames, p.name):
			return nil, p.errorf("unknown section %q: want %s", p.name, strings.Join(sectionNames, ", "))
		}
		seen[p.name] = true
		var err error
		if p.lines, err = parseLines(name, s.line, s.text); err != nil {
			return nil, err
		}
		if err := findChoices(p.lines, f.choices); err != nil {
			return nil, err
		}
		f.parts = append(f.parts, p)
	}
	for _, p := range f.parts {
		if p.name != "vary" {
			continue
		}
		for _, l := range p.lines {
			if f.choices[l.word] == nil {
				f.varied = append(f.varied, l)
				continue
			}
			list, ok := strings.CutPrefix(l.rest, "in ")
			if !ok {
				return nil, l.errorf("want: %s in CASE | CASE", l.word)
			}
			if err := f.restrict(l.place, f.allowed, l.word, list); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// restrict notes that of a choice only the listed cases are taken.
func (f *file) restrict(p place, allowed map[string][]string, name, list string) error {
	var cases []string
	for _, word := range strings.Split(list, "|") {
		word = strings.TrimSpace(word)
		if !slices.ContainsFunc(f.choices[name].cases, func(k *caseSpec) bool { return k.name == word }) {
			return p.errorf("choice %q has no case %q: want %s", name, word, strings.Join(f.choices[name].names(), ", "))
		}
		cases = append(cases, word)
	}
	allowed[name] = cases
	return nil
}

func (c *choice) names() []string {
	var names []string
	for _, k := range c.cases {
		names = append(names, k.name)
	}
	return names
}

// deepest is the largest number of cases of one choice.
func (f *file) deepest() int {
	n := 1
	for _, c := range f.choices {
		n = max(n, len(c.cases))
	}
	return n
}

// read reads the file with its choices decided.
func (f *file) read(by decide, allowed map[string][]string) (*Scenario, error) {
	lib, err := loadLibrary()
	if err != nil {
		return nil, err
	}
	s := &Scenario{
		Name: f.name, lib: lib, logs: lib.windowsLogs(), language: "en", stretch: 1,
		Expect: Expect{Incidents: -1}, background: background{to: time.Hour}, identity: baseName(f.name), comment: f.comment,
	}
	s.Title, _, _ = strings.Cut(strings.TrimSpace(f.comment), "\n")
	r := &resolver{choices: f.choices, allowed: allowed, decide: by, chosen: map[string]string{}}
	for _, p := range f.parts {
		list := p.lines
		if p.name == "vary" {
			list = f.varied
		}
		lines, err := r.resolve(list)
		if err != nil {
			return nil, err
		}
		if err := s.section(p.name)(lines); err != nil {
			return nil, err
		}
		s.parts = append(s.parts, part{p.place, p.name, lines})
	}
	switch {
	case s.start.IsZero():
		return nil, fmt.Errorf("%s: the settings name no start", f.name)
	case len(s.hosts) == 0:
		return nil, fmt.Errorf("%s: no host", f.name)
	}
	if err := s.checkVaried(); err != nil {
		return nil, err
	}
	for _, name := range r.order {
		s.choices = append(s.choices, Chosen{Kind: "choice", Name: name, Value: r.chosen[name]})
	}
	return s, nil
}

// section is how a section is read.
func (s *Scenario) section(name string) func([]*line) error {
	return map[string]func([]*line) error{
		"settings": s.readSettings, "vary": s.readVary, "vars": s.readVars, "hosts": s.readHosts,
		"volumes": s.readVolumes, "contents": s.readContents, "steps": s.readSteps,
		"background": s.readBackground, "expect": s.readExpect,
	}[name]
}
