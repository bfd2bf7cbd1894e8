package world

import (
	"encoding/xml"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Service is what was recorded of one registration of a Windows service. A name
// that is registered again, as remote execution tools do at every use, is
// another Service.
type Service struct {
	Host      string
	Name      string // as recorded
	ImagePath string // the last that is recorded
	DLL       string // ServiceDll, "" if none is recorded; likewise
	// Start says when it is to be started, as the registry has it (2 automatic, 3
	// on demand, 4 disabled); "" if it is not recorded there.
	Start string
	// Programs are what it was to run, each from its time until the next one's:
	// a service is changed, runs something else, and is changed back.
	Programs []Program
	// Installs are the records of its registration, in event order: 7045 and
	// 4697, and the registry values ImagePath and ServiceDll.
	Installs []*Record
	// From is its first record and Until the next registration of the name,
	// zero if there is none.
	From, Until time.Time
}

// Program is what a service is to run from a time on: its ImagePath, or, of one
// that svchost.exe hosts, its ServiceDll.
type Program struct {
	From   time.Time
	Path   string // as recorded
	DLL    bool   // it is a ServiceDll
	Record *Record
}

// program takes in that a record names what the service is to run.
func (s *Service) program(r *Record, path string, dll bool) {
	for i := len(s.Programs) - 1; i >= 0; i-- {
		if p := s.Programs[i]; p.DLL == dll {
			if CommandKey(p.Path) == CommandKey(path) {
				return // another record of the same
			}
			break
		}
	}
	s.Programs = append(s.Programs, Program{r.Time, path, dll, r})
}

// sameInstall is how far apart the records of one registration may be.
const sameInstall = 2 * time.Minute

// Key is the service's match form.
func (s *Service) Key() string { return strings.ToLower(s.Name) }

// Services returns the registrations of services that are recorded, in the
// order of their first record.
func (w *World) Services() []*Service {
	w.resolve()
	if w.services == nil {
		w.services = append([]*Service{}, w.findServices()...)
	}
	return w.services
}

func (w *World) findServices() []*Service {
	byKey := map[string]*Service{}
	installed := map[*Service]time.Time{} // by the service manager's own record
	var all []*Service
	// The registry value is written moments before the service manager's record.
	installs := map[string][]time.Time{}
	for _, r := range w.records {
		if r.Kind == event.ServiceInstall {
			k := HostKey(r.Host) + "|" + strings.ToLower(r.Get("ServiceName"))
			installs[k] = append(installs[k], r.Time)
		}
	}
	followed := func(k string, t time.Time) bool {
		i, _ := slices.BinarySearchFunc(installs[k], t, time.Time.Compare)
		return i < len(installs[k]) && installs[k][i].Sub(t) <= 5*time.Second
	}
	of := func(r *Record, name string) *Service {
		k := HostKey(r.Host) + "|" + strings.ToLower(name)
		s := byKey[k]
		if s != nil && !installed[s].IsZero() && r.Time.Sub(installed[s]) > sameInstall && (r.Kind == event.ServiceInstall || followed(k, r.Time)) {
			s.Until = r.Time
			s = nil
		}
		if s == nil {
			s = &Service{Host: r.Host, Name: name, From: r.Time}
			byKey[k] = s
			all = append(all, s)
		}
		if r.Kind == event.ServiceInstall {
			installed[s] = r.Time
		}
		s.Installs = append(s.Installs, r)
		return s
	}
	for _, r := range w.records {
		switch r.Kind {
		case event.ServiceInstall:
			if name := r.Get("ServiceName"); name != "" {
				s := of(r, name)
				if p := r.Get("ImagePath"); p != "" {
					s.ImagePath = p
					s.program(r, p, false)
				}
			}
		case event.RegistrySet:
			name, value := ServiceValue(r.Get("TargetObject"))
			if s := byKey[HostKey(r.Host)+"|"+strings.ToLower(name)]; value == "start" && s != nil {
				s.Start = strings.TrimLeft(strings.Trim(strings.TrimPrefix(strings.ToLower(r.Get("Details")), "dword"), " ()"), "0x")
			}
			if value == "imagepath" || value == "servicedll" {
				if !known(r.Get("Details")) {
					continue
				}
				s := of(r, name)
				if value == "imagepath" {
					s.ImagePath = r.Get("Details")
				} else {
					s.DLL = r.Get("Details")
				}
				s.program(r, r.Get("Details"), value == "servicedll")
			}
		}
	}
	return all
}

// ServiceValue reads a registry path …\Services\<name>\[Parameters\]<value>. The
// name is as recorded, the value in lower case; both are "" for other paths.
func ServiceValue(object string) (name, value string) {
	lower := strings.ToLower(object)
	const mark = `\services\`
	i := strings.Index(lower, mark)
	if i < 0 || !strings.Contains(lower[:i], `\system\`) || len(lower) != len(object) {
		return "", ""
	}
	parts := strings.Split(object[i+len(mark):], `\`)
	switch {
	case len(parts) == 2:
		return parts[0], strings.ToLower(parts[1])
	case len(parts) == 3 && strings.EqualFold(parts[1], "Parameters"):
		return parts[0], strings.ToLower(parts[2])
	}
	return "", ""
}

// Task is what was recorded of a scheduled task's registration.
type Task struct {
	Host string
	Name string // as recorded, without the leading separator
	// Commands are the programs with their arguments that its actions run, as
	// far as they were recorded.
	Commands []string
	// Handlers are the ids of the COM classes that its actions call, in lower
	// case: their code runs in a host process of the Task Scheduler.
	Handlers []string
	// Registers are the records of its registration, in event order: 4698,
	// 4702, 106, 140, the file under System32\Tasks, and the registry values
	// of its entry in the scheduler's cache.
	Registers []*Record
	// Starts are the records of its start that name a process: 129.
	Starts []*Record
	// Begins are the records of its start that name a program only: 129 whose
	// shipper lost the process id, and 200.
	Begins []*Record
}

// Key is the task's match form.
func (t *Task) Key() string { return strings.ToLower(t.Name) }

const tasksFolder = windowsDir + `\system32\tasks\`

// TaskName returns a task's name without its leading separators.
func TaskName(name string) string { return strings.TrimLeft(name, `\/`) }

// Tasks returns the tasks of which a registration or a start is recorded, in
// the order of their first record.
func (w *World) Tasks() []*Task {
	w.resolve()
	if w.tasks == nil {
		w.tasks = append([]*Task{}, w.findTasks()...)
	}
	return w.tasks
}

func (w *World) findTasks() []*Task {
	byKey := map[string]*Task{}
	var all []*Task
	of := func(r *Record, name string) *Task {
		name = TaskName(name)
		k := HostKey(r.Host) + "|" + strings.ToLower(name)
		t := byKey[k]
		if t == nil {
			t = &Task{Host: r.Host, Name: name}
			byKey[k] = t
			all = append(all, t)
		}
		return t
	}
	for _, r := range w.records {
		switch r.Kind {
		case event.TaskRegister, event.TaskUpdate:
			if name := r.Get("TaskName"); name != "" {
				t := of(r, name)
				t.Registers = append(t.Registers, r)
				commands, handlers := taskActions(r.Get("TaskContent"))
				t.Commands, t.Handlers = append(t.Commands, commands...), append(t.Handlers, handlers...)
			}
		case event.TaskStart:
			if name := r.Get("TaskName"); name != "" && r.Number("ProcessId") != 0 && r.ID == 129 {
				t := of(r, name)
				t.Starts = append(t.Starts, r)
			} else if name != "" && (r.ID == 129 && r.Get("Path") != "" || r.ID == 200 && r.Get("ActionName") != "") {
				t := of(r, name)
				t.Begins = append(t.Begins, r)
			}
		case event.RegistrySet:
			if name := CachedTask(r.Get("TargetObject")); name != "" {
				t := of(r, name)
				t.Registers = append(t.Registers, r)
			}
		case event.FileCreate:
			path := r.Get("TargetFilename")
			if key := PathKey(path); strings.HasPrefix(key, tasksFolder) && len(key) > len(tasksFolder) && len(key) <= len(path) {
				t := of(r, path[len(path)-len(key)+len(tasksFolder):])
				t.Registers = append(t.Registers, r)
			}
		}
	}
	return all
}

// CachedTask reads a registry path …\Schedule\TaskCache\Tree\<name>\<value>, by
// which the Task Scheduler knows a task: the name as recorded, "" for other
// paths. Whoever but the scheduler itself writes there makes a task that no log
// of the scheduler's shows.
func CachedTask(object string) string {
	const mark = `\schedule\taskcache\tree\`
	lower := strings.ToLower(object)
	i := strings.Index(lower, mark)
	if i < 0 || len(lower) != len(object) {
		return ""
	}
	return Dir(object[i+len(mark):])
}

// FiledTask reads the path of the file in which the Task Scheduler keeps a task,
// …\Windows\System32\Tasks\<name>: the name as recorded, "" for other paths.
func FiledTask(path string) string {
	const folder = `\windows\system32\tasks\`
	if key := PathKey(path); len(key) > len(folder)+2 && key[1] == ':' && strings.HasPrefix(key[2:], folder) && len(key) <= len(path) {
		return path[len(path)-len(key)+2+len(folder):]
	}
	return ""
}

// TaskCommands returns the command lines of a task's Exec actions from its XML
// definition; none if it cannot be read.
func TaskCommands(content string) []string {
	commands, _ := taskActions(content)
	return commands
}

// taskActions returns the command lines of a task's Exec actions and the class
// ids of its ComHandler actions.
func taskActions(content string) (commands, handlers []string) {
	if content == "" {
		return nil, nil
	}
	var task struct {
		Exec []struct {
			Command   string `xml:"Command"`
			Arguments string `xml:"Arguments"`
		} `xml:"Actions>Exec"`
		Handler []struct {
			ClassID string `xml:"ClassId"`
		} `xml:"Actions>ComHandler"`
	}
	// The text was UTF-16 once and still says so.
	if i := strings.Index(content, "?>"); i >= 0 {
		content = content[i+2:]
	}
	if err := xml.Unmarshal([]byte(content), &task); err != nil {
		return nil, nil
	}
	for _, e := range task.Exec {
		if e.Command == "" {
			continue
		}
		c := e.Command
		if e.Arguments != "" {
			c += " " + e.Arguments
		}
		commands = append(commands, c)
	}
	for _, h := range task.Handler {
		if id := strings.ToLower(strings.TrimSpace(h.ClassID)); id != "" {
			handlers = append(handlers, id)
		}
	}
	return commands, handlers
}
