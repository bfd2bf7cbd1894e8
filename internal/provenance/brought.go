package provenance

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"ashiato/internal/world"
)

// Way is how a file may have come to a machine, as the place where it lies
// suggests.
type Way string

// The ways that a place suggests.
const (
	WayUnknown  Way = ""
	WayDownload Way = "download" // where browsers put what they fetch, and where archives are opened
	WayMail     Way = "mail"     // where mail programs keep attachments
)

// Brought is the file that came from outside by all that is known, though no
// record tells of its coming.
type Brought struct {
	// Path is as recorded. Of what a command line passes in another form, as with
	// variables or short names, it is the match form.
	Path string
	Way  Way
}

// Brought finds what a process brought in: its own program, or the file that it
// was told to run or to open, if that lies where programs are not installed and
// no record says who put it there. ok is false if there is none.
func (g *Graph) Brought(n *Node) (b Brought, ok bool) {
	if n == nil || n.Kind != Process || n.Path == "" {
		return b, false
	}
	image := world.PathKey(n.Path)
	paths := []string{image}
	for _, p := range pathsIn(n.Attr("CommandLine"), n.Attr("CurrentDirectory")) {
		if interprets, views := takes(image, world.Ext(p)); interprets || views && world.Ext(p) != "" {
			paths = append(paths, p)
		}
	}
	for i, p := range paths {
		way, outside := placeOf(p)
		if !outside || world.Ext(p) == "" || g.accounted(n.Host, p, n) {
			continue
		}
		if i == 0 {
			p = n.Path
		} else {
			p = spelled(p, n.Attr("CommandLine"), n.Attr("CurrentDirectory"))
		}
		return Brought{p, way}, true
	}
	return b, false
}

// spelled returns the path of a match form as a command line spells it, alone or
// below the current directory; the match form where it does not stand there.
func spelled(key, cmd, dir string) string {
	if p, ok := spelledIn(cmd, key); ok {
		return p
	}
	if dir != "" && !strings.HasSuffix(dir, `\`) {
		dir += `\`
	}
	if rest, ok := strings.CutPrefix(key, world.PathKey(dir)); ok && rest != "" {
		if p, ok := spelledIn(cmd, rest); ok {
			return dir + p
		}
	}
	return key
}

// spelledIn returns the first part of a text that has the match form.
func spelledIn(text, key string) (string, bool) {
	first, _ := utf8.DecodeRuneInString(key)
	runes := utf8.RuneCountInString(key) // lower case has as many
	for i, r := range text {
		if unicode.ToLower(r) != first && r != '/' {
			continue
		}
		end := i
		for n := 0; n < runes && end < len(text); n++ {
			_, size := utf8.DecodeRuneInString(text[end:])
			end += size
		}
		if part := text[i:end]; world.PathKey(part) == key {
			return part, true
		}
	}
	return "", false
}

// accounted reports whether records tell where a file came from by the time that
// a process used it: who wrote it, or the volume that it lies on.
func (g *Graph) accounted(host, path string, n *Node) bool {
	key := g.world.PathOn(host, path)
	if l, ok := world.Letter(key); ok && len(g.world.MountAt(host, l, n.First)) > 0 {
		return true
	}
	for _, w := range g.written[fileKey(host, key)] {
		if !w.t.After(n.First.Add(slack)) {
			return true
		}
	}
	return false
}

// parts of paths, in match form, below which mail programs keep attachments and
// browsers what they fetch.
var (
	mailParts  = []string{`\content.outlook\`, `\microsoft\olk\attachments\`, `\microsoft.windowscommunicationsapps_`, `\temp\mozilla_`}
	fetchParts = []string{`\downloads\`, `\inetcache\`, `\temporary internet files\`, `\user data\default\cache\`}
)

// placeOf says what the place of a file, in match form, tells of how it came.
// outside is false where programs are installed: the folders of Windows and of
// programs, but not those below them that everybody may write to.
func placeOf(key string) (way Way, outside bool) {
	if len(key) < 3 || key[1] != ':' || key[2] != '\\' {
		return WayUnknown, false // on a share, a device, or not known where
	}
	for _, p := range mailParts {
		if strings.Contains(key, p) {
			return WayMail, true
		}
	}
	for _, p := range fetchParts {
		if strings.Contains(key, p) {
			return WayDownload, true
		}
	}
	rest := key[2:]
	switch {
	case opened(rest):
		return WayDownload, true
	case strings.HasPrefix(rest, `\windows\temp\`), strings.HasPrefix(rest, `\windows\tasks\`), strings.HasPrefix(rest, `\windows\tracing\`):
		return WayUnknown, true
	case strings.HasPrefix(rest, `\windows\`), strings.HasPrefix(rest, `\program files\`), strings.HasPrefix(rest, `\program files (x86)\`),
		strings.Contains(rest, `\appdata\local\programs\`), strings.Contains(rest, `\appdata\local\microsoft\`):
		return WayUnknown, false
	}
	return WayUnknown, true
}

// opened reports whether a path lies in the folder that a program for archives
// opens one into: Explorer's Temp1_name.zip, 7-Zip's 7zO…, WinRAR's Rar$….
func opened(path string) bool {
	_, rest, ok := strings.Cut(path, `\temp\`)
	if !ok {
		return false
	}
	folder, _, below := strings.Cut(rest, `\`)
	return below && (strings.HasPrefix(folder, "temp") && strings.Contains(folder, ".zip") ||
		strings.HasPrefix(folder, "7zo") || strings.HasPrefix(folder, "rar$") || strings.HasPrefix(folder, "wz"))
}
