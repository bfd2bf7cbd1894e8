package files

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"ashiato/internal/source"
)

// input is a file on disk.
type input struct {
	path  string
	label string // path with slashes
	size  int64
	named bool // by the user, not found in a folder
}

// walker finds the inputs. Its order is that of the arguments and, inside
// folders, of the names.
type walker struct {
	ctx      context.Context
	inputs   []input
	problems []source.Problem
	skipped  skippedFiles
	files    identities
	folders  identities
}

// identities is a set of files by identity, whatever their names. Candidates are
// found by size and time, and os.SameFile decides.
type identities map[likeness][]fs.FileInfo

// likeness is what files that are the same have in common. Where the system tells
// the number of a file's inode, hardly any others do, so that a folder of very many
// files of one size and time does not take the square of their number.
type likeness struct {
	size, time int64
	inode      uint64
}

func likenessOf(info fs.FileInfo) likeness {
	l := likeness{size: info.Size(), time: info.ModTime().UnixNano()}
	if system := reflect.Indirect(reflect.ValueOf(info.Sys())); system.Kind() == reflect.Struct {
		if inode := system.FieldByName("Ino"); inode.CanUint() {
			l.inode = inode.Uint()
		}
	}
	return l
}

// add reports whether info was not in the set.
func (s identities) add(info fs.FileInfo) bool {
	key := likenessOf(info)
	for _, other := range s[key] {
		if os.SameFile(info, other) {
			return false
		}
	}
	s[key] = append(s[key], info)
	return true
}

func walk(ctx context.Context, paths []string) *walker {
	w := &walker{ctx: ctx, files: identities{}, folders: identities{}}
	for _, p := range paths {
		w.visit(p, true, nil)
	}
	return w
}

func label(path string) string { return filepath.ToSlash(path) }

// visit takes a path that the user named or a folder holds. around are the
// folders around it, outermost first.
func (w *walker) visit(path string, named bool, around []fs.FileInfo) {
	if w.ctx.Err() != nil {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		p := unreadable(label(path), err)
		if isLinkLoop(path) {
			p.Kind, p.Detail = source.LinkLoop, "a symbolic link that leads to itself"
		}
		w.problems = append(w.problems, p)
		return
	}
	switch {
	case info.IsDir():
		for _, outer := range around {
			if os.SameFile(info, outer) {
				w.problems = append(w.problems, source.Problem{
					File: label(path), Kind: source.LinkLoop, Offset: -1, Count: 1,
					Detail: "a symbolic link back to a folder that it is in",
				})
				return
			}
		}
		if w.folders.add(info) {
			w.folder(path, append(around[:len(around):len(around)], info))
		}
	case info.Mode().IsRegular():
		if w.files.add(info) {
			w.inputs = append(w.inputs, input{path: path, label: label(path), size: info.Size(), named: named})
		}
	case named:
		w.problems = append(w.problems, source.Problem{
			File: label(path), Kind: source.Unreadable, Offset: -1, Count: 1,
			Detail: fmt.Sprintf("%s is not opened", describe(info.Mode())),
		})
	default:
		folder, name := split(label(path))
		w.skipped.add(folder, name, describe(info.Mode())+" is not opened")
	}
}

func (w *walker) folder(path string, around []fs.FileInfo) {
	// ReadDir gives what it could read even if it then fails.
	entries, err := os.ReadDir(path)
	if err != nil {
		w.problems = append(w.problems, unreadable(label(path), err))
	}
	for _, e := range entries {
		w.visit(filepath.Join(path, e.Name()), false, around)
	}
}

// isLinkLoop reports whether path is a symbolic link that leads back to itself,
// so that it has no target.
func isLinkLoop(path string) bool {
	var seen []fs.FileInfo
	for len(seen) < 64 {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return false
		}
		for _, s := range seen {
			if os.SameFile(s, info) {
				return true
			}
		}
		seen = append(seen, info)
		target, err := os.Readlink(path)
		if err != nil {
			return false
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return true
}

// split divides a label into its folder, with the separator, and its name.
func split(label string) (folder, name string) {
	i := strings.LastIndexAny(label, "/!") + 1
	return label[:i], label[i:]
}

func describe(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsDir():
		return "a folder"
	}
	return "a special file"
}
