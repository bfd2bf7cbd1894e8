package world

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Volume is a removable storage device as one host saw it.
type Volume struct {
	Host   string
	Serial string // the device's serial number, upper case
	// Synthetic marks a serial number that Windows made up for a device
	// without one: it names a port, not the device.
	Synthetic   bool
	Model       string
	DeviceID    string
	Mounts      []*Mount
	First, Last time.Time
	Evidence    []event.EvidenceRef
}

// Mount is a time in which a volume was attached.
type Mount struct {
	Volume *Volume
	// Letter is the lower-case drive letter, 0 if none is known. Certain says
	// that a record names it; Guessed that other volumes would fit as well.
	Letter           byte
	Certain, Guessed bool
	From, To         time.Time // To is zero if no removal is recorded
}

// Holds reports whether the volume was attached at t.
func (m *Mount) Holds(t time.Time) bool {
	return !t.Before(m.From) && (m.To.IsZero() || !t.After(m.To))
}

const devicePrefix = `\device\harddiskvolume`

// attachment is what a record says about a removable device.
type attachment struct {
	serial, model, device string
	synthetic, weak       bool
	letter                byte
	gone                  bool
}

// attachmentOf reads device records of every kind: Partition 1006, Security
// 6416, Kernel-PnP 400 and 420, DriverFrameworks 2003, and the registry values
// that Windows writes for a new USB disk.
func attachmentOf(r *Record) (a attachment, ok bool) {
	var id string
	switch r.Kind {
	case event.VolumeAttach, event.VolumeDetach:
		a.gone = r.Kind == event.VolumeDetach
		id = cmp.Or(r.Get("DeviceId"), r.Get("DeviceInstanceId"))
		a.model = cmp.Or(r.Get("Model"), r.Get("DeviceDescription"))
		if l, ok := Letter(PathKey(r.Get("DriveLetter"))); ok {
			a.letter = l
		}
		if id == "" { // Partition 1006
			if b := r.Get("BusType"); b != "" && b != "7" && b != "0x7" && !strings.EqualFold(b, "usb") {
				return a, false
			}
			id = r.Get("ParentId")
			if id == "" || !strings.HasPrefix(strings.ToLower(id), "usb") {
				a.serial = strings.ToUpper(strings.TrimSpace(r.Get("SerialNumber")))
				a.device = id
				return a, a.serial != ""
			}
			parts := strings.Split(id, `\`)
			a.serial, a.synthetic = instance(parts[len(parts)-1])
			a.device = id
			return a, len(parts) >= 3 && a.serial != ""
		}
	case event.RegistrySet:
		key := r.Get("TargetObject")
		lower := strings.ToLower(key)
		if !strings.HasSuffix(lower, `\friendlyname`) || !strings.Contains(lower, "usbstor") {
			return a, false
		}
		id = key[:len(key)-len(`\friendlyname`)]
		v := r.Get("Details")
		if l, ok := Letter(PathKey(v)); ok && len(v) <= 3 {
			a.letter = l
		} else {
			a.model = v
		}
	default:
		return a, false
	}
	a.device = id
	parts := strings.Split(strings.ReplaceAll(id, "#", `\`), `\`)
	for i, p := range parts {
		if strings.HasSuffix(strings.ToLower(p), "usbstor") && i+2 < len(parts) {
			a.serial, a.synthetic = instance(parts[i+2])
			return a, a.serial != ""
		}
	}
	// The USB device beneath a disk: it has the same serial number, and says
	// nothing by itself about being a disk.
	if len(parts) >= 3 && strings.EqualFold(parts[0], "usb") {
		a.serial, a.synthetic = instance(parts[2])
		a.weak = true
		return a, a.serial != ""
	}
	return a, false
}

// instance splits a USB instance id, "SERIAL&0", into its serial number. An id
// whose second character is "&" was made up by Windows.
func instance(id string) (serial string, synthetic bool) {
	synthetic = len(id) > 1 && id[1] == '&'
	if i := strings.LastIndexByte(id, '&'); i > 0 && i >= len(id)-3 && !synthetic {
		id = id[:i]
	}
	return strings.ToUpper(id), synthetic
}

// use is a path on a drive letter, seen at a time.
type use struct {
	host   string
	letter byte
}

// lettersIn calls f with the drive letter of every path in a text.
func lettersIn(text string, f func(byte)) {
	for i := 1; i+1 < len(text); i++ {
		if text[i] != ':' || (text[i+1] != '\\' && text[i+1] != '/') {
			continue
		}
		l := text[i-1] | 0x20
		if l < 'a' || l > 'z' {
			continue
		}
		if i >= 2 {
			if c := text[i-2]; c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' {
				continue // a URL's scheme
			}
		}
		f(l)
	}
}

// letterWindow is how far the record of a new drive letter may be before the
// first record of its device.
const letterWindow = 10 * time.Second

// waiting returns the mounts of a host that hold at t and have no letter yet.
func (w *World) waiting(host string, t time.Time) []*Mount {
	var found []*Mount
	for _, m := range w.mounts[host] {
		if m.Letter == 0 && m.Holds(t) {
			found = append(found, m)
		}
	}
	return found
}

// Unlettered returns the mounts of a host that hold at t and whose drive letter
// no record tells.
func (w *World) Unlettered(host string, t time.Time) []*Mount {
	w.resolve()
	return w.waiting(HostKey(host), t)
}

// resolveVolumes goes through attachments, removals and uses of drive letters
// in order of time. A letter that a record names for a volume is certain. Else a
// letter's first use belongs to the one volume that is attached and has no
// letter yet; if several could be meant, all are, as a guess. A letter that is
// used while no volume waits for one is another drive's until the end.
func (w *World) resolveVolumes() {
	w.mounts = map[string][]*Mount{}
	w.devices = map[string]byte{}
	byKey := map[string]*Volume{}
	open := map[*Volume]*Mount{}
	fixed := map[use]bool{}
	known := map[use]bool{}
	type naming struct {
		letter byte
		t      time.Time
	}
	named := map[string]naming{} // host → the letter named last
	lettered := func(host string, l byte, t time.Time) bool {
		for _, m := range w.mounts[HostKey(host)] {
			if m.Letter == l && m.Holds(t) {
				return true
			}
		}
		return false
	}
	used := func(r *Record, l byte) {
		u := use{HostKey(r.Host), l}
		if l == 'c' || fixed[u] || lettered(r.Host, l, r.Time) {
			return
		}
		waiting := w.waiting(u.host, r.Time)
		switch len(waiting) {
		case 0:
			if !known[u] {
				fixed[u] = true
			}
		case 1:
			waiting[0].Letter = l
			known[u] = true
		default:
			for _, m := range waiting {
				guess := *m
				guess.Letter, guess.Guessed = l, true
				m.Volume.Mounts = append(m.Volume.Mounts, &guess)
				w.mounts[u.host] = append(w.mounts[u.host], &guess)
			}
			known[u] = true
		}
	}
	var weak []*Record
	for _, r := range w.records {
		if a, ok := attachmentOf(r); ok {
			if a.weak {
				weak = append(weak, r)
				continue
			}
			host := HostKey(r.Host)
			k := host + "|" + a.serial
			v := byKey[k]
			if v == nil {
				v = &Volume{Host: r.Host, Serial: a.serial, Synthetic: a.synthetic, First: r.Time}
				byKey[k] = v
				w.volumes = append(w.volumes, v)
			}
			v.Last = r.Time
			v.Evidence = append(v.Evidence, r.Ref)
			v.Model, v.DeviceID = cmp.Or(v.Model, a.model), cmp.Or(v.DeviceID, a.device)
			m := open[v]
			if a.gone {
				if m != nil {
					for _, x := range v.Mounts {
						if x.To.IsZero() {
							x.To = r.Time
						}
					}
					delete(open, v)
				}
				continue
			}
			if m == nil {
				m = &Mount{Volume: v, From: r.Time}
				if n, ok := named[host]; ok && r.Time.Sub(n.t) <= letterWindow && !lettered(r.Host, n.letter, r.Time) {
					m.Letter = n.letter
					known[use{host, n.letter}] = true
					delete(named, host)
				}
				open[v] = m
				v.Mounts = append(v.Mounts, m)
				w.mounts[host] = append(w.mounts[host], m)
			}
			if a.letter != 0 {
				for _, x := range w.mounts[host] {
					if x != m && x.Letter == a.letter && !x.Certain && x.Holds(r.Time) {
						x.Letter = 0 // taken to be another's until now
					}
				}
				m.Letter, m.Certain = a.letter, true
				known[use{host, a.letter}] = true
				delete(fixed, use{host, a.letter})
			}
			continue
		}
		switch r.Kind {
		case event.ProcessCreate:
			for _, f := range []string{"Image", "CurrentDirectory", "CommandLine"} {
				lettersIn(r.Get(f), func(l byte) { used(r, l) })
			}
		case event.FileCreate, event.FileExecutable, event.FileStream, event.FileDelete, event.FileAccess, event.FileRename, event.FileAttribute:
			if l, ok := Letter(PathKey(r.Get("TargetFilename"))); ok {
				used(r, l)
			}
		case event.ImageLoad:
			if l, ok := Letter(PathKey(r.Get("ImageLoaded"))); ok {
				used(r, l)
			}
		case event.RegistrySet:
			key := strings.ToLower(r.Get("TargetObject"))
			if i := strings.Index(key, `\mounteddevices\\dosdevices\`); i >= 0 {
				if l, ok := Letter(key[i+len(`\mounteddevices\\dosdevices\`):]); ok && !lettered(r.Host, l, r.Time) {
					// Windows names the letter moments before or after the
					// device.
					if w.waiting(HostKey(r.Host), r.Time) == nil {
						named[HostKey(r.Host)] = naming{l, r.Time}
					} else {
						used(r, l)
					}
				}
			}
		}
	}
	for _, r := range weak {
		a, _ := attachmentOf(r)
		if v := byKey[HostKey(r.Host)+"|"+a.serial]; v != nil {
			v.Evidence = append(v.Evidence, r.Ref)
			slices.SortFunc(v.Evidence, event.EvidenceRef.Compare)
		}
	}
	w.resolveDevices()
}

// resolveDevices finds the drive letter of kernel device names: a path is
// recorded both ways, by Security with the device and by Sysmon with the letter,
// within moments. A device for which the letters differ keeps its name.
func (w *World) resolveDevices() {
	type place struct {
		letter byte
		t      time.Time
	}
	lettered := map[string][]place{}
	for _, r := range w.records {
		switch r.Kind {
		case event.FileCreate, event.FileExecutable, event.FileDelete, event.FileStream:
			key := PathKey(r.Get("TargetFilename"))
			if l, ok := Letter(key); ok && l != 'c' && len(key) > 3 {
				k := HostKey(r.Host) + "|" + key[2:]
				lettered[k] = append(lettered[k], place{l, r.Time})
			}
		}
	}
	if len(lettered) == 0 {
		return
	}
	unsure := map[string]bool{}
	for _, r := range w.records {
		if r.Kind != event.FileAccess {
			continue
		}
		device, rest := splitDevice(PathKey(r.Get("TargetFilename")))
		if device == "" {
			continue
		}
		k := HostKey(r.Host) + "|" + device
		for _, p := range lettered[HostKey(r.Host)+"|"+rest] {
			if p.t.Sub(r.Time).Abs() > 5*time.Second {
				continue
			}
			if l, ok := w.devices[k]; ok && l != p.letter {
				unsure[k] = true
			}
			w.devices[k] = p.letter
		}
	}
	for k := range unsure {
		delete(w.devices, k)
	}
}

// splitDevice splits \device\harddiskvolumeN off a match form.
func splitDevice(key string) (device, rest string) {
	if !strings.HasPrefix(key, devicePrefix) {
		return "", key
	}
	i := strings.IndexByte(key[len(devicePrefix):], '\\')
	if i < 0 {
		return key, ""
	}
	i += len(devicePrefix)
	return key[:i], key[i:]
}

// PathOn returns the match form of a path on a host, with a kernel device name
// replaced by its drive letter where one is known.
func (w *World) PathOn(host, path string) string {
	w.resolve()
	key := PathKey(path)
	if device, rest := splitDevice(key); device != "" {
		if l, ok := w.devices[HostKey(host)+"|"+device]; ok {
			return string(l) + ":" + rest
		}
	}
	return key
}

// Volumes returns every removable volume, by first attachment.
func (w *World) Volumes() []*Volume {
	w.resolve()
	return w.volumes
}

// MountAt returns the mounts that had the drive letter at t on the host: none if
// it is no removable volume's, several if it can only be guessed which one.
func (w *World) MountAt(host string, letter byte, t time.Time) []*Mount {
	w.resolve()
	var found []*Mount
	for _, m := range w.mounts[HostKey(host)] {
		if m.Letter == letter && m.Holds(t) {
			found = append(found, m)
		}
	}
	return found
}
