package files

import (
	"fmt"
	"strings"

	"ashiato/internal/source"
)

// Bounds on the problems of one archive's members, which can be millions.
const (
	maxNamed  = 10   // of one kind in one folder, before they become one
	maxGroups = 1000 // of folders and kinds, before they are of the whole file
)

// memberGroups merge the problems of archive members: those of one kind in one
// folder are named one by one while they are few, else they become one Problem
// with the first one's name and place. Members that were not read because the
// bound was reached are one Problem for each archive.
type memberGroups struct {
	groups map[memberGroup]*merged
	order  []*merged
}

type memberGroup struct {
	place  string // a folder inside an archive, or an archive
	kind   source.ProblemKind
	unread bool
}

// merged is one Problem, or several while they are few.
type merged struct {
	named   []source.Problem
	sum     source.Problem // if named is nil
	members int            // that it stands for
	last    string         // of these
	detail  func(members int, first string) string
}

func (g *memberGroups) group(key memberGroup, file string) *merged {
	if m := g.groups[key]; m != nil {
		return m
	}
	if len(g.order) >= maxGroups {
		key.place = file
		if m := g.groups[key]; m != nil {
			return m
		}
	}
	if g.groups == nil {
		g.groups = map[memberGroup]*merged{}
	}
	m := &merged{}
	g.groups[key] = m
	g.order = append(g.order, m)
	return m
}

// add takes a problem of a member of file.
func (g *memberGroups) add(file string, p source.Problem) {
	folder, _ := split(p.File)
	m := g.group(memberGroup{place: folder, kind: p.Kind}, file)
	m.detail = func(members int, first string) string {
		return fmt.Sprintf("%d members, this the first: %s", members, first)
	}
	if m.members == 0 || m.last != p.File {
		m.members, m.last = m.members+1, p.File
	}
	if m.sum.Count == 0 {
		if m.named = append(m.named, p); len(m.named) > maxNamed {
			for _, n := range m.named {
				m.sum = plus(m.sum, n)
			}
			m.named = nil
		}
		return
	}
	m.sum = plus(m.sum, p)
}

// notRead takes a member that the bound of all bytes kept from being read.
func (g *memberGroups) notRead(file, label string, bound int64) {
	archive := label
	if i := strings.LastIndexByte(label, '!'); i >= 0 {
		archive = label[:i]
	}
	m := g.group(memberGroup{place: archive, kind: source.TooLarge, unread: true}, file)
	m.members++
	m.sum = plus(m.sum, source.Problem{File: label, Kind: source.TooLarge, Offset: -1, Count: 1})
	m.detail = func(members int, _ string) string {
		what := "members"
		if members == 1 {
			what = "member"
		}
		return fmt.Sprintf("%d %s not read: the limit of %d expanded bytes is reached", members, what, bound)
	}
}

// plus adds q to p, which is the first or holds it.
func plus(p, q source.Problem) source.Problem {
	if p.Count == 0 {
		return q
	}
	p.Count += q.Count
	p.Lost += q.Lost
	return p
}

// problems returns what was taken, in the order of the first places.
func (g *memberGroups) problems() []source.Problem {
	var out []source.Problem
	for _, m := range g.order {
		if out = append(out, m.named...); m.sum.Count > 0 {
			m.sum.Detail = m.detail(m.members, m.sum.Detail)
			out = append(out, m.sum)
		}
	}
	return out
}
