package scenario

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/source/auditd"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/xmlevent"
)

// WriteNDJSON writes the records into dir, one file per host, one record a line
// in the order of their event.Compare. It returns the files it wrote.
func WriteNDJSON(dir string, b *Built) ([]string, error) {
	return writeFiles(dir, b, func(e *event.Event) string {
		return fileName(e.Host) + ".ndjson"
	}, func(w io.WriteSeeker, events []*event.Event) error {
		out := bufio.NewWriter(w)
		var line []byte
		for _, e := range events {
			line = ndjson.Append(line[:0], e)
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		return out.Flush()
	})
}

// WriteXML writes the records into dir as Windows event XML, one file per host
// with an <Events> document, the records in their order. It returns the files it
// wrote.
func WriteXML(dir string, b *Built) ([]string, error) {
	return writeFiles(dir, b, func(e *event.Event) string {
		return fileName(e.Host) + ".xml"
	}, func(w io.WriteSeeker, events []*event.Event) error {
		out := bufio.NewWriter(w)
		if _, err := out.WriteString("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Events>\n"); err != nil {
			return err
		}
		var element []byte
		for _, e := range events {
			var err error
			if element, err = xmlevent.Append(element[:0], e); err != nil {
				return err
			}
			if _, err := out.Write(element); err != nil {
				return err
			}
		}
		if _, err := out.WriteString("</Events>\n"); err != nil {
			return err
		}
		return out.Flush()
	})
}

// WriteEVTX writes the records into dir as event log files, a folder per host
// and a file per channel under the names that Windows gives them, such as
// HOST-1/Microsoft-Windows-Sysmon%4Operational.evtx. It returns the files it
// wrote.
func WriteEVTX(dir string, b *Built) ([]string, error) {
	return writeFiles(dir, b, func(e *event.Event) string {
		return filepath.Join(fileName(e.Host), fileName(strings.ReplaceAll(e.Channel, "/", "%4"))+".evtx")
	}, func(w io.WriteSeeker, events []*event.Event) error {
		events = slices.Clone(events)
		slices.SortFunc(events, func(x, y *event.Event) int { return cmp.Compare(x.Ref.RecordID, y.Ref.RecordID) })
		out := evtx.NewWriter(w)
		out.Types = evtx.WindowsTypes
		for _, e := range events {
			if err := out.Write(e); err != nil {
				return err
			}
		}
		return out.Close()
	})
}

// writeFiles groups the records by the file they go to and writes each.
func writeFiles(dir string, b *Built, name func(*event.Event) string, write func(io.WriteSeeker, []*event.Event) error) ([]string, error) {
	groups := map[string][]*event.Event{}
	audit := map[string]bool{} // files that are audit logs, whatever the form of the others
	for _, e := range b.Events {
		n := name(e)
		if e.Provider == auditd.Provider {
			n = filepath.Join(fileName(e.Host), "audit.log")
			audit[n] = true
		}
		groups[n] = append(groups[n], e)
	}
	var names []string
	for n := range groups {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		path := filepath.Join(dir, n)
		as := write
		if audit[n] {
			as = writeAudit
		}
		if err := writeFile(path, groups[n], as); err != nil {
			return names[:i], fmt.Errorf("writing scenario %s: %w", b.Name, err)
		}
		names[i] = path
	}
	return names, nil
}

// writeAudit writes events of the Linux audit system as auditd does.
func writeAudit(w io.WriteSeeker, events []*event.Event) error {
	out := bufio.NewWriter(w)
	var lines []byte
	for _, e := range events {
		var err error
		if lines, err = auditd.Append(lines[:0], e); err != nil {
			return err
		}
		if _, err := out.Write(lines); err != nil {
			return err
		}
	}
	return out.Flush()
}

func writeFile(path string, events []*event.Event, write func(io.WriteSeeker, []*event.Event) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f, events)
}

// fileName makes a host or channel usable as a file name: what a file system
// may refuse, or take for a folder, becomes an underscore.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`<>:"/\|?*`, r) {
			return '_'
		}
		return r
	}, s)
	if strings.Trim(s, ". ") == "" {
		return "_"
	}
	return s
}
