package provenance

import "testing"

// TestSpelled holds that a path which a command line passes is told as it stands
// there, in whatever letters, and as its match form where it does not.
func TestSpelled(t *testing.T) {
	for _, c := range []struct{ name, key, cmd, dir, want string }{
		{"quoted", `c:\users\a\downloads\x y.js`, `"C:\Windows\System32\WScript.exe" "C:\Users\A\Downloads\X y.js" `, "", `C:\Users\A\Downloads\X y.js`},
		{"with a comma behind", `c:\users\a\x.dll`, `rundll32 C:\Users\A\x.DLL,Go`, "", `C:\Users\A\x.DLL`},
		{"in slashes", `c:\users\a\x.js`, `wscript C:/Users/A/x.js`, "", `C:/Users/A/x.js`},
		{"below the current directory", `c:\users\a\sub\x.js`, `wscript Sub\X.js`, `C:\Users\A`, `C:\Users\A\Sub\X.js`},
		{"the same, which ends in a backslash", `c:\users\a\x.js`, `wscript X.js`, `C:\Users\A\`, `C:\Users\A\X.js`},
		{"letters whose small form is longer or shorter", "c:\\\u2c65\u00e9\u03c9\\k.js", "wscript C:\\\u023a\u00c9\u2126\\\u212a.js", "", "C:\\\u023a\u00c9\u2126\\\u212a.js"},
		{"of a variable", `c:\windows\temp\x.js`, `wscript %TEMP%\x.js`, `C:\Users\A`, `c:\windows\temp\x.js`},
		{"not there", `c:\x.js`, `wscript C:\x.j`, ``, `c:\x.js`},
		{"nothing at all", `c:\x.js`, ``, ``, `c:\x.js`},
		{"an invalid byte before", `c:\x.js`, "\xff C:\\X.js", ``, `C:\X.js`},
	} {
		if got := spelled(c.key, c.cmd, c.dir); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
