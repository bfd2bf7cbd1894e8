// Package rules holds the shipped rule pack: standard Sigma rules with texts
// for people in English, Japanese and Korean, a .test file beside each rule,
// and indicator sets in ioc/.
//
// Rules look for behaviour. None of them depends on a drive letter, a folder or
// file name, a number or an address of a campaign; what is known of a campaign
// by value belongs to ioc/.
//
// README.md lists the rules and says how to add one; docs/formats/rules.md and
// docs/formats/rule-tests.md describe the two formats.
package rules

import (
	"embed"
	"io/fs"
)

//go:embed README.md */*.yml */*.test ioc/*.csv
var pack embed.FS

// FS returns the pack: one folder per tactic with rules (.yml) and their tests
// (.test), and ioc with indicator sets (.csv). The content is part of the
// program and never changes while it runs.
func FS() fs.FS { return pack }
