package scenario

import (
	"fmt"
	"strconv"
	"time"
)

// downtime is how long a reboot takes, as the verb's records have it.
const downtime = 35 * time.Second

// reboot turns the host off and on again: its processes end without a record, and
// what runs on every host starts anew, from the sensor on with its start on
// record. Files, registrations and volumes stay. What the background was doing there is over.
func (r *running) reboot() error {
	b, h := r.b, r.t.host
	for p := range h.living {
		p.ended = true
	}
	clear(h.living)
	clear(h.pids)
	clear(h.procs)
	clear(h.pipes)
	h.install = nil
	h.epoch++
	h.bootID++
	h.sequence = 0
	h.boot = r.t.at.Add(downtime)
	h.luid = 0x20000 + b.rng.Uint64N(0x40000)
	h.elevated = h.luid - 0x23 - b.rng.Uint64N(0x40)
	h.vars["bootid"] = strconv.Itoa(int(h.bootID))
	h.vars["luid"] = fmt.Sprintf("0x%x", h.luid)
	h.vars["elevatedluid"] = fmt.Sprintf("0x%x", h.elevated)
	label := r.t.label
	label.Attack = false // what a computer does when it starts, whoever made it
	at := h.boot
	recording := false // what starts before the sensor has no record of its start
	for _, st := range b.lib.boot {
		at = at.Add(st.delay)
		again := *st
		if recording {
			again.verb = b.lib.verbs["start"]
		}
		recording = recording || again.subject == "sysmon"
		if again.subject == "userinit" {
			if err := b.run(r.consoleLogon(at.Add(-200*time.Millisecond), label)); err != nil {
				return err
			}
		}
		label.Verb = again.verb.name
		if err := b.run(&task{at: at, step: &again, host: h, n: 1, label: label}); err != nil {
			return err
		}
	}
	h.back = at
	return nil
}

// consoleLogon is the logon of the host's user after a reboot.
func (r *running) consoleLogon(at time.Time, label Label) *task {
	st := &step{place: r.t.step.place, verb: r.b.lib.verbs["logon"], subject: "${host.user}", times: 1}
	for _, v := range [...][2]string{{"type", "2"}, {"luid", "${host.luid}"}, {"linked", "${host.elevatedluid}"}} {
		st.values = append(st.values, setting{st.place, v[0], v[1]})
	}
	label.Verb = st.verb.name
	return &task{at: at, step: st, host: r.t.host, n: 1, label: label}
}

// over reports whether a background step comes too late: the host was rebooted
// since its activity began, or is being so.
func (t *task) over() bool {
	if !t.aside {
		return false
	}
	epoch, begun := t.scope.epochs[t.host]
	if !begun {
		epoch = t.host.epoch
		if t.at.Before(t.host.back) {
			epoch = -1
		}
		t.scope.epochs[t.host] = epoch
	}
	return epoch != t.host.epoch
}
