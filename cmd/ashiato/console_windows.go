package main

import "golang.org/x/sys/windows"

// uiLanguage is the language that the user's Windows speaks, such as ja-JP; "" if
// that is not known.
func uiLanguage() string {
	names, err := windows.GetUserPreferredUILanguages(windows.MUI_LANGUAGE_NAME)
	if err != nil || len(names) == 0 {
		return ""
	}
	return names[0]
}

// paints makes the console behind fd take colour sequences, which it shows as they
// are until it is told. It reports whether it does.
func paints(fd uintptr) bool {
	var mode uint32
	h := windows.Handle(fd)
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
