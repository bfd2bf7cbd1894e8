package scenario

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Chosen is one thing that was decided when a scenario was varied, or set.
type Chosen struct {
	// Kind is choice, variable or setting.
	Kind string
	// Name is the choice's, variable's or setting's, Value what it got.
	Name, Value string
}

// Vary reads a scenario and lets a seed decide what varies in it: the choices of
// its lines, and the variables and settings of its vary section and, where that
// does not name them, of templates/vary.txt. What fixed holds, by name, is not
// drawn but has that value. The result is a function of the file, the seed and
// fixed. Errors name the file and line.
func Vary(name string, data []byte, seed uint64, fixed map[string]string) (*Scenario, error) {
	f, err := openFile(name, data)
	if err != nil {
		return nil, err
	}
	s, fixed, err := f.fixed(drawn(seed), fixed)
	if err != nil {
		return nil, err
	}
	lines := slices.Clone(s.varied)
	for _, v := range s.lib.varied {
		if !slices.ContainsFunc(lines, func(o variable) bool { return o.name == v.name }) {
			lines = append(lines, v)
		}
	}
	if err := s.change("seed", strconv.FormatUint(seed, 10)); err != nil {
		return nil, err
	}
	for _, v := range lines {
		if _, ok := fixed[v.name]; ok || v.name == "background" && !s.has("background") {
			continue
		}
		got, err := evaluate([]variable{v}, streamOf(seed, "vary", v.name), constants)
		if err != nil {
			return nil, err
		}
		if err := s.change(v.name, got[v.name]); err != nil {
			return nil, v.errorf("%s: %w", v.name, err)
		}
	}
	return s, s.changeAll(fixed)
}

// ParseWith reads a scenario as Parse does, with the named choices, variables and
// settings as given.
func ParseWith(name string, data []byte, fixed map[string]string) (*Scenario, error) {
	f, err := openFile(name, data)
	if err != nil {
		return nil, err
	}
	s, fixed, err := f.fixed(first, fixed)
	if err != nil {
		return nil, err
	}
	return s, s.changeAll(fixed)
}

// fixed reads the file with the choices that fixed names taken as it says. What
// it names that is no choice is handed back.
func (f *file) fixed(by decide, fixed map[string]string) (*Scenario, map[string]string, error) {
	allowed, others := maps.Clone(f.allowed), map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(fixed)) {
		if f.choices[name] == nil {
			others[name] = fixed[name]
		} else if err := f.restrict(place{f.name, 0}, allowed, name, fixed[name]); err != nil {
			return nil, nil, err
		}
	}
	s, err := f.read(by, allowed)
	return s, others, err
}

func (s *Scenario) changeAll(values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := s.change(name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// change is Set, and notes what was set.
func (s *Scenario) change(name, value string) error {
	kind := "setting"
	if slices.ContainsFunc(s.vars, func(v variable) bool { return v.name == name }) {
		kind = "variable"
	}
	if err := s.Set(name, value); err != nil {
		return err
	}
	s.choices = append(s.choices, Chosen{kind, name, value})
	return nil
}

// has reports whether the file has a section.
func (s *Scenario) has(section string) bool {
	return slices.ContainsFunc(s.parts, func(p part) bool { return p.name == section })
}

// readVary reads what varies beside the choices.
func (s *Scenario) readVary(lines []*line) error {
	for _, l := range lines {
		v, err := parseVariable(l, l.word, l.rest)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(s.varied, func(o variable) bool { return o.name == v.name }) {
			return l.errorf("%q varies twice", v.name)
		}
		s.varied = append(s.varied, v)
	}
	return nil
}

// checkVaried complains about a vary line whose name is none.
func (s *Scenario) checkVaried() error {
	for _, v := range s.varied {
		if slices.ContainsFunc(s.vars, func(o variable) bool { return o.name == v.name }) || slices.Contains(settingNames, v.name) {
			continue
		}
		return v.errorf("%q is no choice, variable or setting", v.name)
	}
	return nil
}

// Chosen returns what was decided when the scenario was varied or given values:
// choices in the order of the file, then variables and settings as they were set.
// Of a scenario that was only parsed, it is every choice's first case.
func (s *Scenario) Chosen() []Chosen { return slices.Clone(s.choices) }

// Text returns the scenario, with what was decided, as a scenario file without
// alternatives. Parsed under any name, it builds the same records.
func (s *Scenario) Text() []byte {
	values := map[Chosen]string{} // by kind and name
	var settings []string         // in the order they were set
	for _, c := range s.choices {
		if c.Kind == "choice" {
			continue
		}
		k := Chosen{Kind: c.Kind, Name: c.Name}
		if _, ok := values[k]; !ok && c.Kind == "setting" && c.Name != "identity" && (c.Name != "background" || !s.has("background")) {
			settings = append(settings, c.Name)
		}
		values[k] = c.Value
	}
	setting := func(name string) *line { return &line{word: name, rest: values[Chosen{Kind: "setting", Name: name}]} }
	var b strings.Builder
	b.WriteString(s.comment)
	parts := s.parts
	if !s.has("settings") {
		parts = append([]part{{name: "settings"}}, parts...)
	}
	for _, p := range parts {
		if p.name == "vary" {
			continue
		}
		b.WriteString("-- " + p.name + " --\n")
		var lines []*line
		if p.name == "settings" {
			lines = append(lines, &line{word: "identity", rest: escape(s.identity)})
		}
		for _, l := range p.lines {
			_, set := values[Chosen{Kind: "setting", Name: l.word}]
			value, given := values[Chosen{Kind: "variable", Name: l.word}]
			switch {
			case p.name == "settings" && (set || l.word == "identity"):
				continue
			case p.name == "vars" && given:
				l = &line{word: l.word, rest: "= " + escape(value)}
			case p.name == "background" && l.word == "count" && s.given("background"):
				l = &line{word: "count", rest: setting("background").rest}
			}
			lines = append(lines, l)
		}
		switch {
		case p.name == "settings":
			for _, name := range settings {
				lines = append(lines, setting(name))
			}
		case p.name == "background" && s.given("background") && !slices.ContainsFunc(lines, func(l *line) bool { return l.word == "count" }):
			lines = append(lines, &line{word: "count", rest: setting("background").rest})
		}
		render(&b, lines, 0)
	}
	return []byte(b.String())
}

func (s *Scenario) given(setting string) bool {
	return slices.ContainsFunc(s.choices, func(c Chosen) bool { return c.Kind == "setting" && c.Name == setting })
}

// escape writes a value so that a person sees all of it and reading gives it back:
// outer blanks and characters that nobody can see become variables.
func escape(value string) string {
	var b strings.Builder
	runes := []rune(value)
	for i, c := range runes {
		switch {
		case c == '\n':
			b.WriteString("${newline}")
		case c == ' ' && (i == 0 || i == len(runes)-1):
			b.WriteString("${sp}")
		case c != ' ' && c < 0x10000 && (unicode.IsSpace(c) || unicode.Is(unicode.Cf, c)):
			b.WriteString("${u" + strings.ToUpper(strconv.FormatUint(0x10000|uint64(c), 16)[1:]) + "}")
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// constants are the variables that mean the same everywhere.
func constants(name string) (string, bool) {
	switch name {
	case "empty":
		return "", true
	case "sp":
		return " ", true
	case "dollar":
		return "$", true
	case "newline":
		return "\n", true
	case "tabs":
		return "\t\t\t\t", true
	case "tabs2":
		return "\t\t", true
	}
	if hex, ok := strings.CutPrefix(name, "u"); ok && len(hex) == 4 {
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && n != 0 && !(0xD800 <= n && n < 0xE000) {
			return string(rune(n)), true
		}
	}
	return "", false
}
