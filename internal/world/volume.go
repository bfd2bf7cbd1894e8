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
	Label       string // of its file system, as the sensor recorded it
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
	// Stated marks a letter of which one record of its arrival says letter, device
	// and time: the sensor's.
	Stated   bool
	From, To time.Time // To is zero if no removal is recorded
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
	stated                bool   // the sensor's: letter and device in one record
	label                 string // of the file system
	path                  string // match form of the kernel device name, "" if not recorded
}

// attachmentOf reads device records of every kind: Partition 1006, Security
// 6416, Kernel-PnP 400 and 420, DriverFrameworks 2003, and the registry values
// that Windows writes for a new USB disk.
func attachmentOf(r *Record) (a attachment, ok bool) {
	var id string
	switch r.Kind {
	case event.VolumeAttach, event.VolumeDetach:
		a.gone = r.Kind == event.VolumeDetach
		if strings.EqualFold(r.Provider, ownSensor) {
			return stated(r, a)
		}
		id = cmp.Or(r.Get("DeviceId"), r.Get("DeviceInstanceId"))
		a.model = cmp.Or(r.Get("Model"), product(id), r.Get("DeviceDescription"))
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

const ownSensor = "Ashiato-Sensor"

// stated reads the sensor's record of a volume. What it says is no removable
// volume is none; what has no serial number goes by its device instance.
func stated(r *Record, a attachment) (attachment, bool) {
	if !strings.EqualFold(r.Get("Removable"), "true") {
		return a, false
	}
	a.stated = true
	a.device, a.model, a.label = r.Get("DeviceId"), r.Get("Model"), r.Get("VolumeName")
	a.letter, _ = Letter(PathKey(r.Get("DriveLetter")))
	if device, rest := splitDevice(PathKey(r.Get("DevicePath"))); rest == "" {
		a.path = device
	}
	// The instance id of the device tells whether Windows made the number up.
	parts := strings.Split(strings.ReplaceAll(a.device, "#", `\`), `\`)
	a.serial, a.synthetic = instance(parts[len(parts)-1])
	if s := strings.ToUpper(strings.TrimSpace(r.Get("SerialNumber"))); s != "" && !a.synthetic {
		a.serial = s
	}
	return a, a.serial != ""
}

// notRemovable reads the letter of a volume of which the sensor says that it is
// built in.
func notRemovable(r *Record) (byte, bool) {
	if r.Kind != event.VolumeAttach || !strings.EqualFold(r.Provider, ownSensor) || !strings.EqualFold(r.Get("Removable"), "false") {
		return 0, false
	}
	return Letter(PathKey(r.Get("DriveLetter")))
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

// product reads the maker and the product out of a device id such as
// USBSTOR\Disk&Ven_Kioxia&Prod_TransMemory&Rev_1.00\…, "" if it has none. A
// device's description is only "Disk drive", in the system's language.
func product(id string) string {
	var parts []string
	for _, part := range strings.FieldsFunc(id, func(c rune) bool { return c == '&' || c == '\\' || c == '#' }) {
		for _, prefix := range []string{"Ven_", "Prod_"} {
			if len(part) > len(prefix) && strings.EqualFold(part[:len(prefix)], prefix) {
				parts = append(parts, strings.TrimSpace(strings.ReplaceAll(part[len(prefix):], "_", " ")))
			}
		}
	}
	return strings.Join(parts, " ")
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
		if m.Letter == 0 && !m.Guessed && m.Holds(t) {
			found = append(found, m)
		}
	}
	return found
}

// resolveVolumes goes through attachments, removals and uses of drive letters
// in order of time. A letter that a record names for a volume is certain, from
// the attachment on although the record comes moments later. Else a letter that
// the mount manager gives away is the volume's that is attached within moments,
// and a letter's first use belongs to the one volume that is attached and has
// no letter yet; if several could be meant, all are, as a guess. A letter that
// is used while no volume waits for one is another drive's until the end.
func (w *World) resolveVolumes() {
	w.mounts = map[string][]*Mount{}
	w.devices = map[string]byte{}
	w.stated = map[string][]*Mount{}
	w.deviceMounts = map[string]deviceMount{}
	byKey := map[string]*Volume{}
	open := map[*Volume]*Mount{}
	fixed := map[use]bool{}
	known := map[use]bool{}
	named := map[use]time.Time{} // when the mount manager gave a letter away
	attachments := map[*Record]attachment{}
	history := map[string][]*Record{} // of one volume
	for _, r := range w.records {
		if a, ok := attachmentOf(r); ok {
			attachments[r] = a
			if !a.weak {
				k := w.hostKey(r.Host) + "|" + a.serial
				history[k] = append(history[k], r)
			}
		}
	}
	lettered := func(host string, l byte, t time.Time) bool {
		for _, m := range w.mounts[host] {
			if m.Letter == l && m.Holds(t) {
				return true
			}
		}
		return false
	}
	guess := func(u use, mounts []*Mount) {
		for _, m := range mounts {
			g := *m
			g.Letter, g.Guessed = u.letter, true
			m.Volume.Mounts = append(m.Volume.Mounts, &g)
			w.mounts[u.host] = append(w.mounts[u.host], &g)
		}
		known[u] = true
	}
	used := func(r *Record, l byte) {
		u := use{w.hostKey(r.Host), l}
		if l == 'c' || fixed[u] || lettered(u.host, l, r.Time) {
			return
		}
		if t, ok := named[u]; ok && r.Time.Sub(t) > letterWindow {
			// Given to something that is no USB disk, such as an image file.
			fixed[u] = true
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
			guess(u, waiting)
		}
	}
	// certain finds the letter that a record names for a volume between its
	// attachment and its removal.
	certain := func(key string, from *Record) byte {
		list := history[key]
		for _, r := range list[slices.Index(list, from):] {
			switch a := attachments[r]; {
			case a.letter != 0:
				return a.letter
			case a.gone:
				return 0
			}
		}
		return 0
	}
	// recent picks the letter that was given away just before an attachment.
	recent := func(host string, t time.Time) byte {
		best := use{}
		for u, at := range named {
			if u.host != host || t.Sub(at) > letterWindow || lettered(host, u.letter, t) {
				continue
			}
			if best.letter == 0 || at.After(named[best]) || at.Equal(named[best]) && u.letter < best.letter {
				best = u
			}
		}
		return best.letter
	}
	give := func(m *Mount, l byte, sure bool, t time.Time) {
		host := HostKey(m.Volume.Host)
		for _, x := range w.mounts[host] {
			if x != m && x.Letter == l && !x.Certain && x.Holds(t) {
				x.Letter = 0 // taken to be another's until now
			}
		}
		m.Letter, m.Certain = l, sure
		u := use{host, l}
		known[u] = true
		delete(fixed, u)
		delete(named, u)
	}
	var weak []*Record
	for _, r := range w.records {
		if a, ok := attachments[r]; ok {
			if a.weak {
				weak = append(weak, r)
				continue
			}
			host := w.hostKey(r.Host)
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
				open[v] = m
				v.Mounts = append(v.Mounts, m)
				w.mounts[host] = append(w.mounts[host], m)
				if l := certain(k, r); l != 0 {
					give(m, l, true, r.Time)
				} else if l := recent(host, r.Time); l != 0 {
					give(m, l, false, r.Time)
				}
			}
			if a.letter != 0 && (m.Letter != a.letter || !m.Certain) {
				give(m, a.letter, true, r.Time)
			}
			m.Stated = m.Stated || a.stated && m.Letter == a.letter
			v.Label = cmp.Or(v.Label, a.label)
			if a.path != "" {
				k := host + "|" + a.path
				w.stated[k] = append(w.stated[k], m)
			}
			continue
		}
		if l, ok := notRemovable(r); ok {
			fixed[use{w.hostKey(r.Host), l}] = true
			continue
		}
		switch r.Kind {
		case event.ProcessCreate:
			for _, f := range []string{"Image", "CurrentDirectory", "CommandLine"} {
				lettersIn(r.Get(f), func(l byte) { used(r, l) })
			}
		case event.FileCreate, event.FileExecutable, event.FileStream, event.FileDelete, event.FileAccess, event.FileRename, event.FileAttribute:
			if l, ok := Letter(w.pathKey(r.Get("TargetFilename"))); ok {
				used(r, l)
			}
		case event.ImageLoad:
			if l, ok := Letter(w.pathKey(r.Get("ImageLoaded"))); ok {
				used(r, l)
			}
		case event.RegistrySet:
			// That the mount manager gives a letter away is no use of it.
			l, ok := givenLetter(r.Get("TargetObject"))
			u := use{w.hostKey(r.Host), l}
			if !ok || lettered(u.host, l, r.Time) {
				continue
			}
			var fresh []*Mount
			for _, m := range w.waiting(u.host, r.Time) {
				if r.Time.Sub(m.From) <= letterWindow {
					fresh = append(fresh, m)
				}
			}
			delete(fixed, u)
			switch len(fresh) {
			case 0:
				named[u] = r.Time
			case 1:
				give(fresh[0], l, false, r.Time)
			default:
				guess(u, fresh)
			}
		}
	}
	for _, r := range weak {
		a := attachments[r]
		if v := byKey[w.hostKey(r.Host)+"|"+a.serial]; v != nil {
			v.Evidence = append(v.Evidence, r.Ref)
			slices.SortFunc(v.Evidence, event.EvidenceRef.Compare)
		}
	}
	w.resolveDevices()
}

// givenLetter reads …\MountedDevices\\DosDevices\E:, which the mount manager
// writes when it gives a volume its letter.
func givenLetter(object string) (byte, bool) {
	const mark = `\mounteddevices\\dosdevices\`
	key := strings.ToLower(object)
	i := strings.Index(key, mark)
	if i < 0 {
		return 0, false
	}
	return Letter(key[i+len(mark):])
}

// deviceMount is the attachment that a kernel device name stands for. sure is
// false if another, unrecorded one cannot be ruled out.
type deviceMount struct {
	mount *Mount
	sure  bool
}

// resolveDevices finds the drive letter of kernel device names, which Security's
// records have in the place of letters. A path is recorded both ways: by
// Security with the device and by Sysmon with the letter, within moments; or a
// process opens what its own command line names with the letter. A device for
// which the letters differ keeps its name.
func (w *World) resolveDevices() {
	type place struct {
		letter byte
		t      time.Time
	}
	lettered := map[string][]place{}
	var accesses []*Record
	for _, r := range w.records {
		switch r.Kind {
		case event.FileCreate, event.FileExecutable, event.FileDelete, event.FileStream:
			key := w.pathKey(r.Get("TargetFilename"))
			if l, ok := Letter(key); ok && l != 'c' && len(key) > 3 {
				k := w.hostKey(r.Host) + "|" + key[2:]
				lettered[k] = append(lettered[k], place{l, r.Time})
			}
		case event.FileAccess:
			if device, _ := splitDevice(w.pathKey(r.Get("TargetFilename"))); device != "" {
				accesses = append(accesses, r)
			}
		}
	}
	unsure := map[string]bool{}
	found := func(k string, l byte) {
		if have, ok := w.devices[k]; ok && have != l {
			unsure[k] = true
		}
		w.devices[k] = l
	}
	for _, r := range accesses {
		device, rest := splitDevice(w.pathKey(r.Get("TargetFilename")))
		k := w.hostKey(r.Host) + "|" + device
		for _, p := range lettered[w.hostKey(r.Host)+"|"+rest] {
			if p.t.Sub(r.Time).Abs() <= 5*time.Second {
				found(k, p.letter)
			}
		}
		if p, _ := w.Actor(r); p != nil && len(rest) > 1 {
			for _, text := range []string{p.CommandLine, p.Image} {
				if l := letterOf(strings.ToLower(text), rest); l != 0 && l != 'c' {
					found(k, l)
				}
			}
		}
	}
	for k := range unsure {
		delete(w.devices, k)
	}
	// What the sensor says of a device's letter needs no comparing. Windows gives
	// a name to another device after a restart.
	for k, mounts := range w.stated {
		delete(w.devices, k)
		l := mounts[0].Letter
		if l != 0 && !slices.ContainsFunc(mounts, func(m *Mount) bool { return m.Letter != l }) {
			w.devices[k] = l
		}
	}
	w.resolveDeviceMounts(accesses)
}

// letterOf returns the drive letter before a path in a lower-case text, 0 if the
// text does not hold that path as a whole.
func letterOf(text, rest string) byte {
	text = strings.ReplaceAll(text, "/", `\`)
	for from := 0; ; {
		i := strings.Index(text[from:], ":"+rest)
		if i < 0 {
			return 0
		}
		i += from
		from = i + 1
		end := i + 1 + len(rest)
		if i == 0 || end < len(text) && strings.IndexByte(" \t\"'|<>*?;,", text[end]) < 0 {
			continue
		}
		if l, ok := Letter(text[i-1 : i+2]); ok && (i == 1 || !letterOrDigit(text[i-2])) {
			return l
		}
	}
}

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// resolveDeviceMounts finds the attachment behind device names of removable
// storage that no letter is known of: the only one that could be. That is sure
// if the device's number is above that of a device whose attachment is recorded,
// as numbers are given in order of arrival: then its own arrival is recorded
// too, and one alone is left.
func (w *World) resolveDeviceMounts(accesses []*Record) {
	first := map[string]time.Time{}
	taken := map[*Mount]bool{}
	lowest := map[string]uint64{} // host → the lowest number of a sure device
	sure := func(host, device string, m *Mount) {
		taken[m] = true
		if n := ParseNumber(device[len(devicePrefix):]); lowest[host] == 0 || n < lowest[host] {
			lowest[host] = n
		}
	}
	for _, r := range accesses {
		if r.Task != removableTask {
			continue
		}
		host := w.hostKey(r.Host)
		device, _ := splitDevice(w.pathKey(r.Get("TargetFilename")))
		k := host + "|" + device
		if _, ok := first[k]; !ok {
			first[k] = r.Time
		}
		if l, ok := w.devices[k]; ok {
			for _, m := range w.mounts[host] {
				if m.Letter == l && !m.Guessed && m.Holds(r.Time) {
					w.deviceMounts[k] = deviceMount{m, true}
					sure(host, device, m)
				}
			}
		}
	}
	for _, r := range accesses {
		host := w.hostKey(r.Host)
		device, _ := splitDevice(w.pathKey(r.Get("TargetFilename")))
		k := host + "|" + device
		if _, ok := w.deviceMounts[k]; ok || r.Task != removableTask {
			continue
		}
		var fits []*Mount
		for _, m := range w.mounts[host] {
			if !m.Guessed && !taken[m] && m.Holds(r.Time) && !first[k].Before(m.From) {
				fits = append(fits, m)
			}
		}
		if len(fits) != 1 {
			continue
		}
		m := fits[0]
		d := deviceMount{m, lowest[host] != 0 && lowest[host] < ParseNumber(device[len(devicePrefix):])}
		w.deviceMounts[k] = d
		taken[m] = true
		if _, ok := w.devices[k]; !ok && d.sure && m.Letter != 0 && !unsureLetter(m) {
			w.devices[k] = m.Letter
		}
	}
}

func unsureLetter(m *Mount) bool { return m.Guessed || !m.Certain }

// DeviceMount returns the attachment that the kernel device name in a path
// stood for at t, nil if none is known. sure is false if it is only the one
// recorded attachment that fits.
func (w *World) DeviceMount(host, path string, t time.Time) (m *Mount, sure bool) {
	w.resolve()
	device, _ := splitDevice(PathKey(path))
	d, ok := w.deviceMounts[HostKey(host)+"|"+device]
	if device == "" || !ok || !d.mount.Holds(t) {
		return nil, false
	}
	return d.mount, d.sure
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
	key := w.pathKey(path)
	if device, rest := splitDevice(key); device != "" {
		if l, ok := w.devices[w.hostKey(host)+"|"+device]; ok {
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
	for _, m := range w.mounts[w.hostKey(host)] {
		if m.Letter == letter && m.Holds(t) {
			found = append(found, m)
		}
	}
	return found
}
