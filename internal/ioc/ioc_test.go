package ioc_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/ioc"
)

func TestRecognise(t *testing.T) {
	const md5, sha1, sha256 = "607AC6645BE22077443B74CF38B92CE0", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, test := range []struct {
		in   string
		kind ioc.Kind
		want string
	}{
		{md5, ioc.MD5, strings.ToLower(md5)},
		{sha1, ioc.SHA1, sha1},
		{sha256, ioc.SHA256, sha256},
		{"sha256:" + sha256, ioc.SHA256, sha256},
		{"md5=" + md5, ioc.MD5, strings.ToLower(md5)},
		{"SHA1: " + sha1, ioc.SHA1, sha1},
		{"SHA-1=" + sha1, ioc.SHA1, sha1},
		{"10[.]0[.]0[.]1", ioc.IP, "10.0.0.1"},
		{"::FFFF:10.0.0.1", ioc.IP, "10.0.0.1"},
		{"2001:DB8:0:0:0:0:0:1", ioc.IP, "2001:db8::1"},
		{"10.1.2.3/8", ioc.Network, "10.0.0.0/8"},
		{"2001:db8::/32", ioc.Network, "2001:db8::/32"},
		{"10.0.0.1/32", ioc.IP, "10.0.0.1"},
		{"Evil[.]Example(.)COM.", ioc.Domain, "evil.example.com"},
		{"*.evil.example", ioc.Domain, "evil.example"},
		{"xn--80ak6aa92e.com", ioc.Domain, "xn--80ak6aa92e.com"},
		{"hxxps[:]//Evil[.]example/Path?x=1", ioc.URL, "https://evil.example/Path?x=1"},
		{"HXXP://evil.example", ioc.URL, "http://evil.example/"},
		{"stratum+tcp://pool.example:3333", ioc.URL, "stratum+tcp://pool.example:3333/"},
		{`C:\Windows \System32\printui.dll`, ioc.Path, `C:\Windows \System32\printui.dll`},
		{`\\server\share\x.exe`, ioc.Path, `\\server\share\x.exe`},
		{"/tmp/.x", ioc.Path, "/tmp/.x"},
		{"Console_Zero.EXE", ioc.FileName, "Console_Zero.EXE"},
		{"USB Drive.lnk", ioc.FileName, "USB Drive.lnk"},
		{"a.b.ps1", ioc.FileName, "a.b.ps1"},
		{"evil[.]exe", ioc.FileName, "evil.exe"},
		{"evil.com", ioc.Domain, "evil.com"},
		{"files.zip", ioc.Domain, "files.zip"},
		{"exe.example", ioc.Domain, "exe.example"},
	} {
		kind, got, ok := ioc.Recognise(test.in)
		if !ok || kind != test.kind || got != test.want {
			t.Errorf("%q: %v %q %v, want %v %q", test.in, kind, got, ok, test.kind, test.want)
		}
	}
	for _, in := range []string{"", "x", "md5:" + sha256, "imphash=" + md5, "sha256:", "sha512:" + sha256, "607ac6645be22077443b74cf38b92ce", "607ac6645be22077443b74cf38b92cez", "10.0.0", "0.0.0.0/0", "10.0.0.0/99", "localhost", "a b.com", ".exe", `a\b.exe`, "a\x01.exe", "http://", "javascript://x"} {
		if kind, got, ok := ioc.Recognise(in); ok {
			t.Errorf("%q is taken for %v %q", in, kind, got)
		}
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string // kind value description line
		errs     []string
	}{
		{"lines", "# c\n\n 10.0.0.1 \r\nevil.example\n", []string{"ip 10.0.0.1  3", "domain evil.example  4"}, nil},
		{"header", "type,indicator,description\nip,10.0.0.1,\"pool, first\"\n", []string{"ip 10.0.0.1 pool, first 2"}, nil},
		{"header after comments", "# x\nsha256;comment\n10.0.0.1;y\n", []string{"ip 10.0.0.1 y 3"}, nil},
		{"no header", "ip,10.0.0.1,pool\nevil.example,domain,other\n", []string{"ip 10.0.0.1 pool 1", "domain evil.example other 2"}, nil},
		{"names without a header", "x1,service,its service\nsigner,Bad Corp\nnonsense,words\n", []string{"service x1 its service 1", "signer Bad Corp  2"}, []string{
			`l.csv:3: "nonsense" is no md5, sha1, sha256, address, network, domain, URL, path or file name with a known extension, and no cell of the line says that it is a filename, service, task or signer`,
		}},
		{"names and levels", "value,kind,severity\n\\A\\b,task,LOW\na\\b.exe,filename,\nx1,service,grave\nevil.example,service-name,low\n10.0.0.1,ip,critical\n", []string{
			`task \A\b  2 low`, "service evil.example  5 low", "ip 10.0.0.1  6 critical",
		}, []string{
			`l.csv:3: "a\\b.exe" is no md5, sha1, sha256, address, network, domain, URL, path or file name with a known extension, and no cell of the line says that it is a filename, service, task or signer`,
			`l.csv:4: unknown level "grave": use one of informational, low, medium, high, critical`,
		}},
		{"wildcards", "?:\\a\\*,path\n*,service\n?:\\*.*\n", []string{`path ?:\a\*  1`}, []string{`l.csv:2: "*" fits everything`, `l.csv:3: "?:\\*.*" fits everything`}},
		{"tabs", "evil.example\tthe pool\n", []string{"domain evil.example the pool 1"}, nil},
		{"byte order mark", "\xEF\xBB\xBF10.0.0.1\n", []string{"ip 10.0.0.1  1"}, nil},
		{"bad lines", "10.0.0.1\nnonsense\n10.0.0.2\n\xFF\n,\n", []string{"ip 10.0.0.1  1", "ip 10.0.0.2  3"}, []string{
			`l.csv:2: "nonsense" is no md5, sha1, sha256, address, network, domain, URL, path or file name with a known extension, and no cell of the line says that it is a filename, service, task or signer`, "l.csv:4: the line is not UTF-8 text", "l.csv:5: the line has no indicator",
		}},
		{"long line", strings.Repeat("x", ioc.MaxLine*3) + "\n10.0.0.1\n", []string{"ip 10.0.0.1  2"}, []string{"l.csv:1: the line is longer than 65536 bytes"}},
		{"named hashes", "md5:607AC6645BE22077443B74CF38B92CE0,the miner\nSHA1=da39a3ee5e6b4b0d3255bfef95601890afd80709\n", []string{
			"md5 607ac6645be22077443b74cf38b92ce0 the miner 1", "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709  2",
		}, nil},
		{"comment of another encoding", "# \x83\x5c\n10.0.0.1\n", []string{"ip 10.0.0.1  2"}, nil},
		{"UTF-16, little endian", utf16("\uFEFF# 指標\r\n10.0.0.1,採掘🙂\r\n", false), []string{"ip 10.0.0.1 採掘🙂 2"}, nil},
		{"UTF-16, big endian", utf16("\uFEFF10.0.0.1,採掘\n\n", true), []string{"ip 10.0.0.1 採掘 1"}, nil},
		{"UTF-16 without a mark", utf16("10.0.0.1\nevil.example", false), []string{"ip 10.0.0.1  1", "domain evil.example  2"}, nil},
		{"UTF-16, big endian without a mark", utf16("10.0.0.1\n", true), []string{"ip 10.0.0.1  1"}, nil},
		{"broken UTF-16", utf16("\uFEFF10.0.0.1\n", false) + "\x00\xD8\n\x00" + utf16("10.0.0.2\n", false) + "x", []string{"ip 10.0.0.1  1", "ip 10.0.0.2  3"}, []string{
			"l.csv:2: the line is not UTF-16 text", "l.csv:4: the line is not UTF-16 text",
		}},
		{"no line end", "10.0.0.1", []string{"ip 10.0.0.1  1"}, nil},
		{"empty", "", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, errs := ioc.Parse("l.csv", strings.NewReader(test.in))
			var got, msgs []string
			for i := range list.All() {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %d %s", i.Kind, i.Value, i.Description, i.Line, i.Level)))
				if i.File != "l.csv" {
					t.Errorf("file %q", i.File)
				}
			}
			for _, err := range errs {
				msgs = append(msgs, err.Error())
			}
			if !slices.Equal(got, test.want) || !slices.Equal(msgs, test.errs) {
				t.Errorf("got %q %q", got, msgs)
			}
		})
	}
}

// utf16 returns s as UTF-16 bytes.
func utf16(s string, bigEndian bool) string {
	b := event.AppendUTF16LE(nil, s)
	if bigEndian {
		for i := 0; i < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
	return string(b)
}

// TestUTF16InPieces holds that where a read ends does not matter, not even
// between the halves of a pair.
func TestUTF16InPieces(t *testing.T) {
	in := utf16("\uFEFF"+strings.Repeat("10.0.0.1,🙂🙂🙂\n", 3000), false)
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in)), "halves": iotest.HalfReader(strings.NewReader(in))} {
		list, errs := ioc.Parse("l", r)
		if len(errs) > 0 || list.Len() != 3000 {
			t.Fatalf("%s: %d indicators, %v", name, list.Len(), errs)
		}
		for i := range list.All() {
			if i.Description != "🙂🙂🙂" {
				t.Fatalf("%s: %+v", name, i)
			}
		}
	}
}

// TestLargeList holds that a list of more than one piece is found whole, and that
// it is held in little more than its own bytes.
func TestLargeList(t *testing.T) {
	const n = 200_000
	digest := func(i int) string {
		return fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%s,family %d\n", digest(i), i%10_000)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	list, errs := ioc.Parse("l", strings.NewReader(text.String()))
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	s := ioc.New(list, list)
	list = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int(after.HeapAlloc-before.HeapAlloc) / n; each > 120 {
		t.Errorf("%d bytes an indicator", each)
	}
	if s.Len() != n {
		t.Fatalf("%d indicators", s.Len())
	}
	for i := 0; i < n+1000; i += 500 {
		hits := s.Match(&event.Event{Data: event.Fields{{Name: "Hashes", Value: "SHA256=" + strings.ToUpper(digest(i))}}}, nil)
		if i >= n {
			if len(hits) > 0 {
				t.Fatalf("%d: found %+v", i, hits[0].Indicator)
			}
			continue
		}
		want := ioc.Indicator{Kind: ioc.SHA256, Value: digest(i), Description: fmt.Sprintf("family %d", i%10_000), File: "l", Line: i + 1}
		if len(hits) != 1 || *hits[0].Indicator != want {
			t.Fatalf("%d: found %+v", i, hits)
		}
	}
	runtime.KeepAlive(s)
}

// TestBounds holds that what is beyond the bounds of a list is reported.
func TestBounds(t *testing.T) {
	pad := strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", 1024)
	var parts []io.Reader
	for range ioc.MaxFileSize / len(pad) {
		parts = append(parts, strings.NewReader(pad))
	}
	list, errs := ioc.Parse("l", io.MultiReader(append(parts, strings.NewReader("10.0.0.1\n"))...))
	if list.Len() != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "l:262145: the list is larger than 268435456 bytes; the rest was not read") {
		t.Errorf("%d indicators, %v", list.Len(), errs)
	}
}

// TestIndicators holds that a Set lists what it holds, sorted, and that a hit is
// one of these, whoever asks.
func TestIndicators(t *testing.T) {
	s := set(t, "evil.example\n10.0.0.1\nevil.example,again\n607ac6645be22077443b74cf38b92ce0\nC:\\A.exe\nc:\\a.EXE\n")
	var got []string
	for _, i := range s.Indicators() {
		got = append(got, fmt.Sprintf("%s %s %d", i.Kind, i.Value, i.Line))
	}
	want := []string{"domain evil.example 1", "ip 10.0.0.1 2", "md5 607ac6645be22077443b74cf38b92ce0 4", `path C:\A.exe 5`}
	if !slices.Equal(got, want) || s.Len() != len(want) {
		t.Errorf("%d: %q", s.Len(), got)
	}
	e := &event.Event{Data: event.Fields{{Name: "QueryName", Value: "evil.example"}}}
	for range 2 {
		if hits := s.Match(e, nil); hits[0].Indicator != s.Indicators()[0] {
			t.Errorf("%p", hits[0].Indicator)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "%x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		list, _ := ioc.Parse("l", strings.NewReader(text.String()))
		ioc.New(list)
	}
}

func TestManyBadLinesAreCounted(t *testing.T) {
	_, errs := ioc.Parse("l", strings.NewReader(strings.Repeat("?\n", 5000)))
	if n := len(errs); n != 1001 || !strings.Contains(errs[n-1].Error(), "4000 more lines") {
		t.Errorf("%d errors, last %v", n, errs[n-1])
	}
}

func set(t *testing.T, lines string) *ioc.Set {
	t.Helper()
	list, errs := ioc.Parse("l", strings.NewReader(lines))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return ioc.New(list)
}

func TestMatch(t *testing.T) {
	s := set(t, `607ac6645be22077443b74cf38b92ce0
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
10.0.0.1
192.168.0.0/16
192.168.7.0/24
2001:db8::1
evil.example
http://drop.example/a.exe
C:\Windows \System32\printui.dll
`)
	for _, test := range []struct {
		field, value string
		want         []string
	}{
		{"Hashes", "SHA1=DA39A3EE5E6B4B0D3255BFEF95601890AFD80709,MD5=607AC6645BE22077443B74CF38B92CE0,IMPHASH=0", []string{"md5:607ac6645be22077443b74cf38b92ce0"}},
		{"Hashes", "MD5=00000000000000000000000000000000,IMPHASH=607AC6645BE22077443B74CF38B92CE0", nil},
		{"sha256", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", []string{"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
		{"Hash", "607ac6645be22077443b74cf38b92ce0", []string{"md5:607ac6645be22077443b74cf38b92ce0"}},
		{"DestinationIp", "10.0.0.1", []string{"ip:10.0.0.1"}},
		{"DestinationIp", "10.0.0.11", nil},
		{"SourceIp", "2001:db8:0:0:0:0:0:1", []string{"ip:2001:db8::1"}},
		{"DestinationIp", "192.168.7.9", []string{"network:192.168.0.0/16", "network:192.168.7.0/24"}},
		{"QueryResults", "type:  5 cdn.example;::ffff:10.0.0.1;", []string{"ip:10.0.0.1"}},
		{"QueryName", "Evil.Example", []string{"domain:evil.example"}},
		{"QueryName", "a.b.evil.example.", []string{"domain:evil.example"}},
		{"QueryName", "notevil.example", nil},
		{"DestinationHostname", "x.evil.example", []string{"domain:evil.example"}},
		{"CommandLine", `curl "HTTP://Drop.example/a.exe" -o x`, []string{"url:http://drop.example/a.exe"}},
		{"CommandLine", "curl http://drop.example/A.exe", nil},
		{"ScriptBlockText", "iwr 'https://cdn.evil.example:8443/x'", []string{"domain:evil.example"}},
		{"TargetFilename", `c:\windows \system32\PRINTUI.dll`, []string{`path:C:\Windows \System32\printui.dll`}},
		{"TargetFilename", `C:\Windows\System32\printui.dll`, nil},
		{"Unrelated", "10.0.0.1", nil},
	} {
		var got []string
		for _, h := range s.Match(&event.Event{Data: event.Fields{{Name: test.field, Value: test.value}}}, nil) {
			got = append(got, string(h.Indicator.Kind)+":"+h.Indicator.Value)
			if !slices.Equal(h.Fields, []event.Field{{Name: test.field, Value: test.value}}) {
				t.Errorf("%s: cited %v", test.field, h.Fields)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s=%s: got %q, want %q", test.field, test.value, got, test.want)
		}
	}
}

func TestOneIndicatorInTwoFieldsIsOneHit(t *testing.T) {
	hits := set(t, "10.0.0.1\n10[.]0.0.1,again\n").Match(&event.Event{Data: event.Fields{
		{Name: "SourceIp", Value: "10.0.0.1"}, {Name: "DestinationIp", Value: "10.0.0.1"},
	}}, nil)
	if len(hits) != 1 || len(hits[0].Fields) != 2 || hits[0].Indicator.Line != 1 {
		t.Errorf("%+v", hits)
	}
}

// TestSetDoesNotDependOnOrder holds that the same lists in another order find
// the same in the same order.
func TestSetDoesNotDependOnOrder(t *testing.T) {
	pool := []string{"10.0.0.1", "10.0.0.0/8", "10.0.0.0/24", "evil.example", "a.evil.example", "607ac6645be22077443b74cf38b92ce0"}
	e := &event.Event{Data: event.Fields{{Name: "DestinationIp", Value: "10.0.0.1"}, {Name: "QueryName", Value: "x.a.evil.example"}, {Name: "Hashes", Value: "MD5=607AC6645BE22077443B74CF38B92CE0"}}}
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.Permutation(pool).Draw(t, "lines")
		first, errs := ioc.Parse("l", strings.NewReader(strings.Join(lines[:3], "\n")))
		second, more := ioc.Parse("m", strings.NewReader(strings.Join(lines[3:], "\n")))
		if errs = append(errs, more...); len(errs) > 0 {
			t.Fatal(errs)
		}
		var got []string
		for _, h := range ioc.New(first, &ioc.List{}, second).Match(e, nil) {
			got = append(got, h.Indicator.Value)
		}
		want := []string{"a.evil.example", "evil.example", "10.0.0.1", "607ac6645be22077443b74cf38b92ce0", "10.0.0.0/24", "10.0.0.0/8"}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q", got)
		}
	})
}

// TestShippedList holds that the five hashes of the article ship.
func TestShippedList(t *testing.T) {
	f, err := os.Open("../../rules/ioc/usb-coinminer.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, errs := ioc.Parse("usb-coinminer.csv", f)
	if len(errs) > 0 {
		t.Error(errs)
	}
	var article []string
	kinds := map[ioc.Kind]int{}
	for i := range list.All() {
		kinds[i.Kind]++
		if i.Kind == ioc.MD5 {
			article = append(article, i.Value)
		}
		if i.Description == "" || i.Level == "" || !strings.Contains(i.Description, "(") {
			t.Errorf("no source, description or level: %+v", i)
		}
	}
	want := []string{
		"607ac6645be22077443b74cf38b92ce0", "60f6acfb9efce8dbf5a6d69a418c0eed", "819aa5e784063af3bf18b7a7fcdc1855",
		"8972c43c579d02b463484e31506a64ff", "a62826dabcdf904941b0793e9f7b2238",
	}
	if !slices.Equal(article, want) {
		t.Errorf("the article's hashes: %q", article)
	}
	for _, k := range []ioc.Kind{ioc.SHA256, ioc.Domain, ioc.Path, ioc.FileName, ioc.Service, ioc.Task, ioc.Signer} {
		if kinds[k] == 0 {
			t.Errorf("no %s", k)
		}
	}
}

// TestNames holds where names of files, services, tasks and signers are found, and
// what wildcards fit.
func TestNames(t *testing.T) {
	s := set(t, `value,type
x817994.vbs,filename
u*.tmp,filename
?:\Windows\System32\wsvcz\*,path
x665422,service
Éclair?,service
\Vendor\Update,task
console_zero,task
Noriyuki MIYAZAKI,signer
`)
	for _, test := range []struct{ field, value, want string }{
		{"Image", `E:\rootdir\X817994.VBS`, "x817994.vbs"},
		{"Image", `/mnt/usb/x817994.vbs`, "x817994.vbs"},
		{"Image", `E:\rootdir\x817994.vbs `, ""},
		{"Image", `E:\x817994.vbs\a.exe`, ""},
		{"TargetFilename", `C:\a\U.tmp`, "u*.tmp"},
		{"TargetFilename", `C:\a\u12.tmp.x`, ""},
		{"TargetFilename", `d:\windows\system32\WSVCZ\a\b.sys`, `?:\Windows\System32\wsvcz\*`},
		{"TargetFilename", `C:\Windows \System32\wsvcz\b.sys`, ""},
		{"ServiceName", "X665422", "x665422"},
		{"ServiceName", "x6654220", ""},
		{"ServiceName", "éclairé", "Éclair?"},
		{"TargetObject", `HKLM\System\CurrentControlSet\Services\x665422\Parameters\ServiceDll`, "x665422"},
		{"TargetObject", `HKLM\System\CurrentControlSet\Services\other\x665422`, ""},
		{"TaskName", `\console_zero`, "console_zero"},
		{"TaskName", `\folder\console_zero`, ""},
		{"TaskName", `\vendor\update`, `\Vendor\Update`},
		{"TargetFilename", `C:\Windows\System32\Tasks\Vendor\Update`, `\Vendor\Update`},
		{"TargetObject", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tree\console_zero\SD`, "console_zero"},
		{"TargetObject", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tree\console_zero`, "console_zero"},
		{"Signature", "noriyuki miyazaki", "Noriyuki MIYAZAKI"},
		{"Description", "x665422", ""},
	} {
		var got []string
		for _, h := range s.Match(&event.Event{Data: event.Fields{{Name: test.field, Value: test.value}}}, nil) {
			got = append(got, h.Indicator.Value)
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%s %q: got %q, want %q", test.field, test.value, got, test.want)
		}
	}
}

// TestPatternsAreBounded holds that a list cannot bring more wildcards than are
// tried on each name.
func TestPatternsAreBounded(t *testing.T) {
	var lines strings.Builder
	for i := range ioc.MaxPatterns + 5 {
		fmt.Fprintf(&lines, "a%d*b,service\n", i)
	}
	list, errs := ioc.Parse("l", strings.NewReader(lines.String()))
	if list.Len() != ioc.MaxPatterns || len(errs) != 5 {
		t.Errorf("%d indicators, %d errors", list.Len(), len(errs))
	}
}

// FuzzPattern holds that wildcards fit what a regular expression made of them fits.
func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*é?", "aéü")
	f.Add("**?*", "\xFFx")
	f.Fuzz(func(t *testing.T, glob, text string) {
		if !utf8.ValidString(glob) || !utf8.ValidString(text) || len(text) > 200 || len(glob) > 200 || strings.ContainsAny(glob, ",;\t\"\n\r") ||
			strings.ContainsFunc(glob, unicode.IsControl) || strings.TrimSpace(glob) != glob || !strings.ContainsAny(glob, "*?") || strings.HasPrefix(glob, "#") {
			t.Skip()
		}
		list, _ := ioc.Parse("l", strings.NewReader("value,type\n"+glob+",service\n"))
		if list.Len() != 1 {
			t.Skip()
		}
		low := strings.ToLower(glob)
		re := regexp.MustCompile(`(?s)^` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(low)) + `$`)
		want := re.MatchString(strings.ToLower(text)) && text != ""
		got := len(ioc.New(list).Match(&event.Event{Data: event.Fields{{Name: "ServiceName", Value: text}}}, nil)) > 0
		if got != want {
			t.Fatalf("%q on %q: got %v, want %v", glob, text, got, want)
		}
	})
}

// FuzzParse holds that each line is read, skipped or reported, that what is read
// is in normal form, and that it is found again in an event that holds it.
func FuzzParse(f *testing.F) {
	f.Add("type,value,comment\nip,10.0.0.1,x\nhxxp://a[.]example/b\n")
	f.Add("x1,service\nkind,value,level\n\\a\\b*,task,low\nx.exe,filename\n")
	f.Add("# x\n607ac6645be22077443b74cf38b92ce0;y\nC:\\a b\\c\n10.0.0.0/8\n")
	fields := map[ioc.Kind]string{"hash": "Hashes", "address": "DestinationIp", "domain": "QueryName", "url": "CommandLine", "path": "Image", "service": "ServiceName", "task": "TaskName", "signer": "Signature"}
	f.Fuzz(func(t *testing.T, text string) {
		list, errs := ioc.Parse("l", strings.NewReader(text))
		if n := strings.Count(text, "\n") + 1; list.Len()+len(errs) > n {
			t.Fatalf("%d indicators and %d errors from %d lines", list.Len(), len(errs), n)
		}
		s := ioc.New(list)
		for i := range list.All() {
			kind, value, ok := ioc.Recognise(i.Value)
			switch i.Kind {
			case ioc.FileName, ioc.Service, ioc.Task, ioc.Signer: // the list says so, not their shape
				kind, value, ok = i.Kind, i.Value, i.Value != ""
			}
			if !ok || kind != i.Kind || value != i.Value {
				t.Fatalf("%q is %v, read again %v %q %v", i.Value, i.Kind, kind, value, ok)
			}
			if i.Kind == ioc.Network || i.Kind == ioc.URL {
				continue // an address in it, and what ends a URL in a text, are tested by table
			}
			e := &event.Event{Time: time.Unix(0, 0), Data: event.Fields{{Name: fields[i.Kind.Group()], Value: i.Value}}}
			if !slices.ContainsFunc(s.Match(e, nil), func(h ioc.Hit) bool { return h.Indicator.Kind == i.Kind }) {
				t.Fatalf("%v %q is not found", i.Kind, i.Value)
			}
		}
	})
}
