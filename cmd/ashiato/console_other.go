//go:build !windows

package main

// uiLanguage is for Windows, which has no locale in its environment.
func uiLanguage() string { return "" }

// paints reports whether the terminal takes colour sequences.
func paints(uintptr) bool { return true }
