package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A file is replaced whole or not at all, and nothing else is left in its folder.
func TestOutFileIsWholeOrNotThere(t *testing.T) {
	failed := errors.New("failed")
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tt := range map[string]struct {
		ctx    context.Context
		before string // content, if any
		fail   error
		want   string
	}{
		"new":               {context.Background(), "", nil, "<new>"},
		"replaced":          {context.Background(), "<old>", nil, "<new>"},
		"failed":            {context.Background(), "<old>", failed, "<old>"},
		"failed new":        {context.Background(), "", failed, ""},
		"interrupted":       {done, "<old>", context.Canceled, "<old>"},
		"interrupted new":   {done, "", context.Canceled, ""},
		"another's, refuse": {context.Background(), "ElfFile", errRefused, "ElfFile"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			if tt.before != "" {
				if err := os.WriteFile(path, []byte(tt.before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			f, err := newOutFile(path, "<")
			if tt.fail == errRefused {
				if err == nil {
					t.Error("a file of another kind would be overwritten")
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				err = f.write(tt.ctx, func(w io.Writer) error {
					_, err := io.WriteString(w, "<new>")
					if tt.fail == failed {
						err = failed
					}
					return err
				})
				if !errors.Is(err, tt.fail) {
					t.Errorf("error %v, want %v", err, tt.fail)
				}
			}
			got, err := os.ReadFile(path)
			if tt.want == "" != errors.Is(err, os.ErrNotExist) || string(got) != tt.want {
				t.Errorf("file holds %q (%v), want %q", got, err, tt.want)
			}
			if tt.before != "" && runtime.GOOS != "windows" {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
					t.Errorf("permissions changed: %v %v", info.Mode(), err)
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) > 1 {
				t.Errorf("the folder holds %v (%v)", entries, err)
			}
		})
	}
}

var errRefused = errors.New("refused")

// brokenWriter takes a few bytes, as a disk does that is about to be full.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return 0, errors.New("no space left")
	}
	w.left -= len(b)
	return len(b), nil
}

// No command ends as if its output were complete when it is not.
func TestFullDisk(t *testing.T) {
	for _, args := range [][]string{
		{"rules", "list"},
		{"rules", "show", "mock-folder-file"},
		{"rules", "check"},
		{"rules", "test"},
		{"version"},
		{"scan", "--quiet", "testdata"},
		{"scan", "--help"},
		{"scenario", "build", "../../testdata/scenarios/usb-coinminer.txtar", "--to", "xml", "--out", t.TempDir()},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &brokenWriter{8}, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: status %d, %q", args, code, stderr.String())
		}
	}
}

// hostile is text that would colour a terminal, set its title, turn the direction
// of writing or end markup, and that has half a character.
const hostile = `\u001b[31mRED\u001b]0;title\u0007\r\u009b2J\u202egpj.\u200b\ud800</script><!--]]>&`

// hostileLog writes an incident in which every name is hostile.
func hostileLog(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	record := func(provider, channel, id, data string) string {
		return strings.ReplaceAll(`{"Event":{"System":{"Provider":{"#attributes":{"Name":"`+provider+`"}},"EventID":`+id+`,"EventRecordID":`+id+
			`,"Channel":"`+channel+`","Computer":"PC-%","TimeCreated":{"#attributes":{"SystemTime":"2026-03-02T01:00:00.000000Z"}}},"EventData":{`+data+`}}}`, "%", hostile) + "\n"
	}
	log := record("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", "1",
		`"UtcTime":"2026-03-02 01:00:00.000","ProcessGuid":"{11111111-0000-0000-0000-000000000001}","ProcessId":"100","Image":"C:\\Windows \\System32\\%.exe",`+
			`"CommandLine":"\"C:\\Windows \\System32\\%.exe\" %","IntegrityLevel":"High","User":"PC\\%","ParentProcessGuid":"{11111111-0000-0000-0000-000000000002}",`+
			`"ParentProcessId":"50","ParentImage":"C:\\Users\\%\\drop.exe","ParentCommandLine":"%"`) +
		record("Service Control Manager", "System", "7045",
			`"ServiceName":"svc%","ImagePath":"C:\\Users\\Public\\%.exe","ServiceType":"user mode service","StartType":"auto start","AccountName":"LocalSystem"`)
	if err := os.WriteFile(filepath.Join(dir, "hostile.ndjson"), []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if err := os.WriteFile(filepath.Join(dir, "\x1b[2J\u202e.json"), []byte(`{"a`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// plain fails the test if s has a character that a terminal acts on.
func plain(t *testing.T, what, s string) {
	t.Helper()
	for _, line := range strings.Split(s, "\n") {
		if i := strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }); i >= 0 {
			t.Errorf("%s: %q in %q", what, line[i], line)
		}
	}
}

func TestTelemetryNeverControlsTheTerminal(t *testing.T) {
	dir := hostileLog(t)
	for _, lang := range []string{"en", "ja", "ko"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"scan", "--quiet", "--lang", lang, dir}, &stdout, &stderr); code != exitFound {
			t.Errorf("%s: status %d: %s", lang, code, stderr.String())
		}
		if !strings.Contains(stdout.String(), "⟨U+001B⟩[31mRED") || !strings.Contains(stdout.String(), "⟨U+D800⟩") {
			t.Errorf("%s: the characters are not shown:\n%s", lang, stdout.String())
		}
		plain(t, lang, stdout.String()+stderr.String())
	}
}

func TestRulesNeverControlTheTerminal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file names with control characters")
	}
	dir := t.TempDir()
	good := "title: \"\\e[31mred\\u202e\"\nid: 2b0e8a3c-5a51-4a3b-9d7e-0d5f8a6f1c11\nlogsource: {category: process_creation, product: windows}\n" +
		"detection: {s: {Image: x}, condition: s}\nlevel: low\n"
	for name, text := range map[string]string{
		"good.yml":              good,
		"\x1b[2J\u202e.yml":     "title: [",
		"long.yml":              "title: " + strings.Repeat("x", 1<<20) + "\n",
		"indicators\x1b[2J.txt": "\x1b[31mno indicator\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"rules", "check", dir},
		{"rules", "list", "--rules", dir},
		{"rules", "show", "good", "--rules", dir},
		{"rules", "show", "\x1b[31m", "--rules", dir},
		{"scan", "--quiet", "--rules", dir, "--ioc", filepath.Join(dir, "indicators\x1b[2J.txt"), "testdata"},
		{"scan", filepath.Join(dir, "\x1b[2Jnone")},
	} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, &stdout, &stderr)
		plain(t, strings.Join(args, " "), stdout.String()+stderr.String())
		if n := stdout.Len() + stderr.Len(); n == 0 || n > 20_000 {
			t.Errorf("%q: %d bytes of output", args, n)
		}
	}
}

// Whatever the input holds, the machine output is what its schema says.
func TestMachineOutput(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/formats/scan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for input, nothing := range map[string]bool{hostileLog(t): false, "testdata": true} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"scan", "--quiet", "--format", "json", input}, &stdout, &stderr); (code == exitFailed) != nothing {
			t.Fatalf("%s: status %d: %s", input, code, stderr.String())
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(stdout.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", input, err)
		}
		stdout.Reset()
		if code := run(t.Context(), []string{"scan", "--quiet", "--format", "ndjson", input}, &stdout, &stderr); (code == exitFailed) != nothing {
			t.Fatalf("%s: status %d: %s", input, code, stderr.String())
		}
		for line := range strings.Lines(stdout.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: not JSON: %.200s", input, line)
			}
		}
	}
}
