package diagram

import (
	"strings"

	"ashiato/internal/provenance"
)

// Icons are drawn by strokes on a 16 by 16 field.
const (
	iconUSB       = "M5 1.5h6v4H5zM3.5 5.5h9V13a1.8 1.8 0 0 1-1.8 1.8H5.300A1.8 1.8 0 0 1 3.500 13zM7 3.200v.6M9 3.200v.6"
	iconGear      = "M8 1v2M8 13v2M1 8h2M13 8h2M3.050 3.050l1.400 1.400M11.550 11.550l1.400 1.400M3.050 12.950l1.400-1.400M11.550 4.450l1.400-1.400M3.600 8a4.400 4.400 0 1 0 8.800 0 4.400 4.400 0 1 0-8.800 0M6.400 8a1.600 1.600 0 1 0 3.200 0 1.600 1.600 0 1 0-3.200 0"
	iconFile      = "M3.500 1.500h6l3 3v10h-9zM9.500 1.500v3h3"
	iconScript    = iconFile + "M5.500 7.500h5M5.500 9.800h5M5.500 12h3"
	iconProgram   = iconFile + "M6.500 7.500l4 2.500-4 2.500z"
	iconModule    = iconFile + "M5.500 8h2v-1h1v1h2v2h1v1h-1v2h-5z"
	iconShortcut  = iconFile + "M5.500 12.300c0-2.600 1.500-3.600 4.300-3.600M8 6.800l1.900 1.900L8 10.600"
	iconFolder    = "M1.500 3.500h4.700l1.500 2h6.800v8h-13z"
	iconService   = "M1.500 2.500h13v11h-13zM1.500 5.300h13M6.200 9.400a1.800 1.800 0 1 0 3.600 0 1.800 1.800 0 1 0-3.600 0M8 6.600v1M8 11.200v1M5.200 9.400h1M9.800 9.400h1"
	iconTask      = "M1.500 8a6.500 6.500 0 1 0 13 0 6.500 6.500 0 1 0-13 0M8 4v4l2.800 1.800"
	iconShieldOff = "M8 1.500l5.500 2v4.200c0 3.300-2.300 5.600-5.500 6.800-3.200-1.200-5.500-3.500-5.500-6.800V3.500zM1.800 1.500l12.400 13"
	iconGlobe     = "M1.500 8a6.500 6.500 0 1 0 13 0 6.500 6.500 0 1 0-13 0M1.500 8h13M8 1.500c1.900 1.900 2.800 4 2.800 6.500S9.900 12.600 8 14.500C6.100 12.600 5.200 10.500 5.200 8S6.100 3.400 8 1.500z"
	iconHost      = "M1.500 2.500h13v8.500h-13zM5 14h6M8 11v3"
	iconRegistry  = "M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM9 9h5v5H9z"
	iconPerson    = "M5 5a3 3 0 1 0 6 0 3 3 0 1 0-6 0M2.500 14.500c.5-3.500 2.500-5 5.500-5s5 1.500 5.500 5"
	iconGap       = "M6 6.200a2 2 0 1 1 2.900 1.800c-.6.3-.9.700-.9 1.400v.4M8 12v.4M1.500 8a6.500 6.500 0 1 0 13 0 6.500 6.500 0 1 0-13 0"
	iconStack     = "M4.500 4V1.500h10v10H12M1.500 4.500h10v10h-10z"
	iconWMI       = "M2 2.500h5v4H2zM9 9.500h5v4H9zM4.500 6.500v5H9M9 4.500h5M11.500 2v5"
	iconCOM       = "M2 5.500h7v7H2zM9 7.500h2M9 10.500h2M11 5.500h3v7h-3M4 5.500v-2M7 5.500v-2"
	iconBITS      = "M8 1.500v8M4.800 6.500L8 9.700l3.200-3.200M2 10.500v3.500h12v-3.500"
	iconInstaller = "M2 5.500l6-3.500 6 3.500v6l-6 3.500-6-3.500zM2 5.500L8 9l6-3.500M8 9v6"
	iconKey       = "M1 4a2.300 2.300 0 1 0 4.600 0A2.300 2.300 0 1 0 1 4M5.600 4H12M9.300 4v2.300M11.500 4v2"
)

// icon is the picture of a node's kind.
func icon(n *provenance.Node) string {
	switch n.Kind {
	case provenance.Host:
		return iconHost
	case provenance.Volume:
		return iconUSB
	case provenance.Process:
		return iconGear
	case provenance.File:
		switch extension(n) {
		case "lnk", "url":
			return iconShortcut
		case "dll", "ocx", "cpl", "sys", "drv":
			return iconModule
		case "vbs", "vbe", "js", "jse", "wsf", "bat", "cmd", "ps1", "psm1", "hta", "sct", "sh", "py":
			return iconScript
		case "exe", "com", "scr":
			return iconProgram
		}
		return iconFile
	case provenance.Folder:
		return iconFolder
	case provenance.RegistryValue:
		return iconRegistry
	case provenance.Service:
		return iconService
	case provenance.Task:
		return iconTask
	case provenance.Exclusion:
		return iconShieldOff
	case provenance.Address, provenance.Domain:
		return iconGlobe
	case provenance.Logon:
		return iconPerson
	case provenance.WMI:
		return iconWMI
	case provenance.COM:
		return iconCOM
	case provenance.BITS:
		return iconBITS
	case provenance.Installer:
		return iconInstaller
	}
	return iconGap
}

func extension(n *provenance.Node) string {
	name := n.Label
	if name == "" {
		name = n.Path
	}
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}
