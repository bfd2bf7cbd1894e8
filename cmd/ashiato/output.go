package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ashiato/internal/visible"
)

// stdoutWriter remembers the first error of writing to standard output, so that
// a listing that met a full disk does not end like a complete one.
type stdoutWriter struct {
	io.Writer
	err error
}

func (w *stdoutWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// Fd lets isTerminal see through the writer.
func (w *stdoutWriter) Fd() uintptr {
	if f, ok := w.Writer.(interface{ Fd() uintptr }); ok {
		return f.Fd()
	}
	return ^uintptr(0)
}

// printable is s for a terminal: names and values from foreign files must not
// reach it as control sequences or turn the direction of the text. Line breaks
// stay, and so does everything that merely looks odd.
func printable(s string) string {
	var b strings.Builder
	for _, r := range visible.Runs(s) {
		if r.Text == " " || r.Text == "\n" || r.Text == "\t" || r.Mark == "" {
			b.WriteString(r.Text)
		} else {
			b.WriteString(r.Mark)
		}
	}
	return b.String()
}

// maxMessage bounds one message about a foreign file, in bytes: a rule's title
// may have megabytes.
const maxMessage = 2000

// message is err as one printable line of bounded length.
func message(err error) string {
	s := err.Error()
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + fmt.Sprintf("… (%d bytes in all)", len(s))
	}
	return strings.ReplaceAll(printable(s), "\n", " ")
}

// outFile is a file that a command writes when its work is done. That it can be
// written is known before the work begins, and it appears whole or not at all.
type outFile struct {
	path   string
	mode   fs.FileMode // of the file it replaces, 0 if there is none
	direct bool        // a device or pipe, which cannot be replaced
	secret bool        // for the user alone, whatever the file it replaces was
}

// newOutFile prepares to write path. A file that is there already is replaced
// only if it is empty or begins like what will be written: the path of a log,
// given by mistake, must not destroy evidence.
func newOutFile(path, begins string) (*outFile, error) {
	if path == "-" {
		return nil, withHint(errors.New("standard output has the findings, not files"), "give a file name; ./- is a file called -")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &outFile{path: path}, probe(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, withHint(fmt.Errorf("%s is a folder", path), "name a file in it")
	}
	if !info.Mode().IsRegular() {
		return &outFile{path: path, direct: true}, nil // opening and closing a pipe would end it for its reader
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if info.Size() > 0 {
		if same, err := fileBegins(path, begins); err != nil {
			return nil, err
		} else if !same {
			return nil, withHint(fmt.Errorf("%s exists and was not written by this command", path), "choose another name or remove it first")
		}
	}
	// What a link leads to is replaced, not the link.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	return &outFile{path: path, mode: info.Mode().Perm()}, probe(filepath.Dir(path))
}

func fileBegins(path, prefix string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close() // only read
	head := make([]byte, len(prefix))
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return bytes.EqualFold(head[:n], []byte(prefix)), nil
}

// probe finds out whether files can be made in a folder, by making one.
func probe(dir string) error {
	f, err := partial(dir)
	if pe := new(fs.PathError); errors.As(err, &pe) {
		return withHint(fmt.Errorf("cannot write into %s: %w", dir, pe.Err), "a folder that can be written to must be there first")
	} else if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// partial makes a new file in dir under a name of its own, with the permissions
// that the user's other new files get.
func partial(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, ".ashiato-"+rand.Text()+".partial"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// write writes the file. If it fails, or ctx is done, what was there before
// stays as it was.
func (o *outFile) write(ctx context.Context, write func(io.Writer) error) (err error) {
	var f *os.File
	if o.direct {
		f, err = os.OpenFile(o.path, os.O_WRONLY, 0)
	} else {
		f, err = partial(filepath.Dir(o.path))
	}
	if err != nil {
		return err
	}
	if o.secret && !o.direct {
		o.mode = 0o600
		err = f.Chmod(o.mode) // before anything is in it
	}
	defer func() {
		if err != nil {
			f.Close() // the first error is the one to tell
			if !o.direct {
				os.Remove(f.Name())
			}
		}
	}()
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(untilDone{ctx, f}, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if o.direct {
		return f.Close()
	}
	if o.mode != 0 {
		if err := f.Chmod(o.mode); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), o.path)
}

// untilDone is a writer that fails once its context is done.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}
