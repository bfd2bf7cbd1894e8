// Package diagramtest makes incidents for tests of the diagram and the report:
// the whole USB coin miner as one incident, and others that are tiny, large,
// hostile or spread over several hosts. Everything in them is synthetic.
package diagramtest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Case is an incident with the records behind it.
type Case struct {
	Incident *incident.Incident
	Records  map[event.EvidenceRef]*event.Event
}

// Record finds a record, as a report's Evidence function does.
func (c *Case) Record(r event.EvidenceRef) *event.Event { return c.Records[r] }

// Start is when the cases begin.
var Start = time.Date(2026, 3, 9, 0, 45, 2, 123456700, time.UTC)

// Builder puts an incident together.
type Builder struct {
	Case
	// Host is the host of nodes and records made from here on.
	Host   string
	nextID uint64
	nodes  map[provenance.NodeID]*provenance.Node
	steps  map[*provenance.Edge]int
}

// NewBuilder starts an incident on a host.
func NewBuilder(host string) *Builder {
	return &Builder{
		Case:   Case{Incident: &incident.Incident{}, Records: map[event.EvidenceRef]*event.Event{}},
		Host:   host,
		nextID: 1000,
		nodes:  map[provenance.NodeID]*provenance.Node{},
		steps:  map[*provenance.Edge]int{},
	}
}

// At is a time so many seconds after Start.
func At(seconds float64) time.Time {
	return Start.Add(time.Duration(seconds * float64(time.Second)))
}

// Node adds a node. Attributes are given as "Name=value".
func (b *Builder) Node(kind provenance.NodeKind, id, label, path string, at float64, attrs ...string) provenance.NodeID {
	n := &provenance.Node{
		ID: provenance.NodeID(b.Host + "/" + kind.String() + "/" + id), Kind: kind, Host: b.Host,
		Label: label, Path: path, First: At(at), Last: At(at),
	}
	for _, a := range attrs {
		k, v, _ := strings.Cut(a, "=")
		n.Attrs = append(n.Attrs, event.Field{Name: k, Value: v})
	}
	slices.SortFunc(n.Attrs, func(x, y event.Field) int { return strings.Compare(x.Name, y.Name) })
	b.Incident.Nodes = append(b.Incident.Nodes, n)
	b.nodes[n.ID] = n
	return n.ID
}

// Get returns a node made before.
func (b *Builder) Get(id provenance.NodeID) *provenance.Node { return b.nodes[id] }

// Record makes a record and keeps it. Fields are given as "Name=value".
func (b *Builder) Record(channel string, id uint32, at float64, fields ...string) *event.Event {
	b.nextID++
	e := &event.Event{
		Time: At(at), Host: b.Host, Channel: channel, ID: id, Provider: "Microsoft-Windows-Sysmon", Logged: At(at),
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		e.Data = append(e.Data, event.Field{Name: k, Value: v})
	}
	e.Ref = event.EvidenceRef{
		Host: b.Host, Channel: channel, RecordID: b.nextID,
		File: "logs/" + b.Host + "/Microsoft-Windows-Sysmon%4Operational.evtx", Offset: int64(b.nextID) * 512,
		SHA256: sha256.Sum256([]byte(fmt.Sprint(channel, id, b.nextID, fields))),
	}
	b.Records[e.Ref] = e
	return e
}

// Sysmon is Sysmon's channel.
const Sysmon = "Microsoft-Windows-Sysmon/Operational"

// Edge adds a skeleton edge of class A; step 0 makes it context.
func (b *Builder) Edge(from provenance.NodeID, verb provenance.Verb, to provenance.NodeID, at float64, step int) *provenance.Edge {
	f, t := b.nodes[from], b.nodes[to]
	e := &provenance.Edge{
		From: from, To: to, Verb: verb, Class: provenance.ClassA, Skeleton: step > 0,
		First: At(at), Last: At(at), Count: 1, Join: "process-guid",
	}
	r := b.Record(Sysmon, 1+uint32(verb), at, "UtcTime="+At(at).Format("2006-01-02 15:04:05.000"),
		"Image="+f.Path, "TargetFilename="+t.Path, "CommandLine="+t.Attr("CommandLine"), "User=HOST-1\\user")
	e.Evidence = []event.EvidenceRef{r.Ref}
	b.Incident.Edges = append(b.Incident.Edges, e)
	b.steps[e] = step
	return e
}

// Rule makes a rule with texts in three languages.
func Rule(id, name string, severity detect.Severity, attack, en, ja, ko string, aliases ...string) *detect.Rule {
	text := func(title, meaning string) detect.RuleText {
		return detect.RuleText{Title: title, Meaning: meaning, Why: "Why: " + title, Check: "Check: " + title, Benign: "Benign: " + title, Action: "Action: " + title}
	}
	return &detect.Rule{
		ID: id, Name: name, Aliases: aliases, Title: en, Severity: severity, Attack: strings.Fields(attack),
		Texts:  detect.Texts{"en": text(en, "What it means: "+en), "ja": text(ja, "意味:"+ja), "ko": text(ko, "의미: "+ko)},
		Source: "rules/" + id + ".yml",
	}
}

// Detect marks a node.
func (b *Builder) Detect(node provenance.NodeID, r *detect.Rule, at float64) {
	n := b.nodes[node]
	e := b.Record(Sysmon, 1, at, "Image="+n.Path, "CommandLine="+n.Attr("CommandLine"))
	b.Incident.Detections = append(b.Incident.Detections, incident.Placed{
		Detection: detect.Detection{Rule: r, Event: e, Matched: []detect.Matched{{Field: "Image", Value: n.Path}}}, Node: node,
	})
}

// Finish sorts everything as an Incident is specified to be and makes a story of
// one step for each step number.
func (b *Builder) Finish(root provenance.NodeID, kind incident.RootKind) *Case {
	inc := b.Incident
	inc.ID = "a1b2c3d4e5f60718"
	slices.SortFunc(inc.Nodes, func(x, y *provenance.Node) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(inc.Edges, func(x, y *provenance.Edge) int {
		return cmp.Or(x.First.Compare(y.First), cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To), cmp.Compare(x.Verb, y.Verb))
	})
	slices.SortFunc(inc.Detections, func(x, y incident.Placed) int { return detect.Compare(x.Detection, y.Detection) })
	byStep := map[int][]int{}
	for i, e := range inc.Edges {
		inc.EdgeSteps = append(inc.EdgeSteps, b.steps[e])
		if s := b.steps[e]; s > 0 {
			byStep[s] = append(byStep[s], i)
		}
	}
	for s := 1; s <= len(byStep); s++ {
		if es := byStep[s]; len(es) > 0 {
			inc.Story = append(inc.Story, incident.Step{Number: s, Time: inc.Edges[es[0]].First, Edges: es, Key: "test-step-" + strconv.Itoa(s)})
		}
	}
	hosts := map[string]bool{}
	for i, n := range inc.Nodes {
		hosts[n.Host] = true
		if i == 0 || n.First.Before(inc.First) {
			inc.First = n.First
		}
		if n.Last.After(inc.Last) {
			inc.Last = n.Last
		}
	}
	for h := range hosts {
		inc.Hosts = append(inc.Hosts, h)
	}
	slices.Sort(inc.Hosts)
	for _, p := range inc.Detections {
		inc.Severity = max(inc.Severity, p.Rule.Severity)
		inc.Score += 10 * int(p.Rule.Severity)
		inc.Terms = append(inc.Terms, incident.Term{Name: "detection", Detail: p.Rule.Name, Points: 10 * int(p.Rule.Severity)})
	}
	inc.Root = incident.Root{Kind: kind, Node: root, Confidence: incident.Certain, Path: []provenance.NodeID{root}}
	inc.TitleKeys = []string{string(kind)}
	c := b.Case
	return &c
}

// Miner is the whole intrusion of the USB coin miner.
func Miner() *Case {
	b := NewBuilder("HOST-1")
	const (
		mock = `C:\Windows \System32`
		sys  = `C:\Windows\System32`
	)
	e := b.Node(provenance.Volume, "E", "E:", `E:`, 0, "Serial=4C53-0B77", "Model=General UDisk")
	host := b.Node(provenance.Host, "HOST-1", "HOST-1", "", -3600)
	lnk := b.Node(provenance.File, "lnk", "USB Drive.lnk", `E:\USB Drive.lnk`, 8)
	explorer := b.Node(provenance.Process, "explorer", "explorer.exe", `C:\Windows\explorer.exe`, -3000)
	b.Get(explorer).Hub = true
	vbs := b.Node(provenance.File, "vbs", "x482910.vbs", `E:\rootdir\x482910.vbs`, 9)
	wscript := b.Node(provenance.Process, "wscript", "wscript.exe", sys+`\wscript.exe`, 9.2,
		`CommandLine="C:\Windows\System32\WScript.exe" "E:\rootdir\x482910.vbs"`, "IntegrityLevel=Medium", "User=HOST-1\\user", "ProcessId=5120")
	cmd := b.Node(provenance.Process, "cmd", "cmd.exe", sys+`\cmd.exe`, 9.8,
		`CommandLine=cmd /c ""E:\rootdir\x482910.bat" "`, "IntegrityLevel=Medium")
	chcp := b.Node(provenance.Process, "chcp", "chcp.com", sys+`\chcp.com`, 9.9, "CommandLine=chcp  65001")
	timeout := b.Node(provenance.Process, "timeout", "timeout.exe", sys+`\timeout.exe`, 10.1, "CommandLine=timeout /t 1")
	conhost := b.Node(provenance.Process, "conhost", "conhost.exe", sys+`\conhost.exe`, 9.85, "CommandLine=conhost 0xffffffff -ForceV1")
	folder := b.Node(provenance.Folder, "mock", "System32", mock, 10.4)
	xcopy1 := b.Node(provenance.Process, "xcopy1", "xcopy.exe", sys+`\xcopy.exe`, 10.8,
		`CommandLine=xcopy "C:\Windows\System32\printui.exe" "C:\Windows \System32" /Y`, "IntegrityLevel=Medium")
	xcopy2 := b.Node(provenance.Process, "xcopy2", "xcopy.exe", sys+`\xcopy.exe`, 11.3,
		`CommandLine=xcopy "E:\rootdir\x482910.dat" "C:\Windows \System32" /Y`, "IntegrityLevel=Medium")
	exe := b.Node(provenance.File, "printui.exe", "printui.exe", mock+`\printui.exe`, 10.9)
	dat := b.Node(provenance.File, "x.dat", "x482910.dat", mock+`\x482910.dat`, 11.4)
	dll := b.Node(provenance.File, "printui.dll", "printui.dll", mock+`\printui.dll`, 11.7, "Signed=false")
	medium := b.Node(provenance.Process, "printui1", "printui.exe", mock+`\printui.exe`, 12.2,
		`CommandLine="C:\Windows \System32\printui.exe"`, "IntegrityLevel=Medium")
	high := b.Node(provenance.Process, "printui2", "printui.exe", mock+`\printui.exe`, 13.1,
		`CommandLine="C:\Windows \System32\printui.exe" `, "IntegrityLevel=High")
	ps := b.Node(provenance.Process, "powershell", "powershell.exe", sys+`\WindowsPowerShell\v1.0\powershell.exe`, 14.0,
		`CommandLine=powershell -Command "Add-MpPreference -ExclusionPath 'C:\Windows \System32'; Add-MpPreference -ExclusionPath 'C:\Windows\System32'"`, "IntegrityLevel=High")
	ex1 := b.Node(provenance.Exclusion, "ex1", mock, mock, 15.2)
	ex2 := b.Node(provenance.Exclusion, "ex2", sys, sys, 15.4)
	svcDLL := b.Node(provenance.File, "svcdll", "x617283.dat", sys+`\x617283.dat`, 16.1, "Signed=false")
	minerFile := b.Node(provenance.File, "console_zero", "console_zero.exe", sys+`\console_zero.exe`, 16.6)
	updFile := b.Node(provenance.File, "updater", "update_svc.exe", sys+`\update_svc.exe`, 16.8)
	service := b.Node(provenance.Service, "x617283", "x617283", `HKLM\SYSTEM\CurrentControlSet\Services\x617283`, 17.5,
		`ImagePath=C:\Windows\System32\svchost.exe -k DcomLaunch`, `ServiceDll=C:\Windows\System32\x617283.dat`)
	svchost := b.Node(provenance.Process, "svchost", "svchost.exe", sys+`\svchost.exe`, 19.0,
		`CommandLine=C:\Windows\System32\svchost.exe -k DcomLaunch`, "IntegrityLevel=System")
	task := b.Node(provenance.Task, "task", "console_zero", `\console_zero`, 18.2, `Command=C:\Windows\System32\update_svc.exe`)
	updater := b.Node(provenance.Process, "updater", "update_svc.exe", sys+`\update_svc.exe`, 78.2, "IntegrityLevel=System", `CommandLine=C:\Windows\System32\update_svc.exe`)
	domain := b.Node(provenance.Domain, "upd", "update.example.net", "update.example.net", 79)
	miner := b.Node(provenance.Process, "miner", "console_zero.exe", sys+`\console_zero.exe`, 21.4,
		`CommandLine=console_zero.exe -o stratum+tcp://pool.example.org:3333 -u 4A…`, "IntegrityLevel=System")
	pool := b.Node(provenance.Address, "pool", "198.51.100.7:3333", "198.51.100.7:3333", 22.2)
	f := b.Node(provenance.Volume, "F", "F:", "F:", 1800, "Serial=9A10-77FE", "Model=SanDisk Cruzer")
	payload := []provenance.NodeID{
		b.Node(provenance.File, "f-vbs", "x771204.vbs", `F:\rootdir\x771204.vbs`, 1816),
		b.Node(provenance.File, "f-bat", "x771204.bat", `F:\rootdir\x771204.bat`, 1816.5),
		b.Node(provenance.File, "f-dat", "x771204.dat", `F:\rootdir\x771204.dat`, 1817),
	}
	rootdir := b.Node(provenance.Folder, "rootdir", "rootdir", `F:\rootdir`, 1801)
	flnk := b.Node(provenance.File, "f-lnk", "USB Drive.lnk", `F:\USB Drive.lnk`, 1820)

	b.Edge(e, provenance.Attached, host, 0, 1)
	b.Edge(e, provenance.Contains, lnk, 8, 2).Class = provenance.ClassB
	b.Edge(explorer, provenance.Opened, lnk, 8.5, 0)
	b.Edge(lnk, provenance.Started, wscript, 9.2, 2).Class = provenance.ClassB
	b.Edge(explorer, provenance.Started, wscript, 9.2, 0)
	b.Edge(e, provenance.Contains, vbs, 9, 0)
	b.Edge(vbs, provenance.Interpreted, wscript, 9.3, 2).Class = provenance.ClassB
	b.Edge(wscript, provenance.Started, cmd, 9.8, 3)
	b.Edge(cmd, provenance.Started, chcp, 9.9, 0)
	b.Edge(cmd, provenance.Started, timeout, 10.1, 0).Count = 3
	b.Edge(cmd, provenance.Started, conhost, 9.85, 0)
	b.Edge(cmd, provenance.Created, folder, 10.4, 4)
	b.Edge(cmd, provenance.Started, xcopy1, 10.8, 5)
	b.Edge(cmd, provenance.Started, xcopy2, 11.3, 5)
	b.Edge(xcopy1, provenance.Wrote, exe, 10.9, 5)
	b.Edge(xcopy2, provenance.Wrote, dat, 11.4, 5)
	b.Edge(dat, provenance.Renamed, dll, 11.7, 5).Class = provenance.ClassB
	b.Edge(cmd, provenance.Started, medium, 12.2, 6)
	b.Edge(exe, provenance.Executed, medium, 12.2, 6).Class = provenance.ClassB
	b.Edge(medium, provenance.Elevated, high, 13.1, 6)
	b.Edge(dll, provenance.Loaded, high, 13.3, 7).Class = provenance.ClassB
	b.Edge(high, provenance.Started, ps, 14.0, 8)
	b.Edge(ps, provenance.Excluded, ex1, 15.2, 8)
	b.Edge(ps, provenance.Excluded, ex2, 15.4, 8)
	b.Edge(high, provenance.Wrote, svcDLL, 16.1, 9)
	b.Edge(high, provenance.Wrote, minerFile, 16.6, 9)
	b.Edge(high, provenance.Wrote, updFile, 16.8, 9)
	b.Edge(high, provenance.Registered, service, 17.5, 10)
	b.Edge(service, provenance.RanAs, svchost, 19.0, 11).Class = provenance.ClassB
	b.Edge(svcDLL, provenance.Loaded, svchost, 19.3, 11).Class = provenance.ClassB
	b.Edge(high, provenance.Registered, task, 18.2, 12)
	b.Edge(task, provenance.RanAs, updater, 78.2, 12).Class = provenance.ClassB
	b.Edge(updFile, provenance.Executed, updater, 78.2, 12).Class = provenance.ClassB
	b.Edge(updater, provenance.Connected, domain, 79, 12).Count = 4
	b.Edge(svchost, provenance.Started, miner, 21.4, 13)
	b.Edge(minerFile, provenance.Executed, miner, 21.4, 13).Class = provenance.ClassB
	b.Edge(miner, provenance.Connected, pool, 22.2, 13).Count = 118
	b.Edge(svchost, provenance.Created, rootdir, 1801, 14)
	for i := range 46 {
		name := fmt.Sprintf("report %02d.docx", i)
		file := b.Node(provenance.File, "user-"+strconv.Itoa(i), name, `F:\rootdir\`+name, 1802+float64(i)/4)
		b.Edge(svchost, provenance.Hid, file, 1802+float64(i)/4, 14)
	}
	for i, p := range payload {
		b.Edge(svchost, provenance.Wrote, p, 1816+float64(i)/2, 14)
	}
	b.Edge(svchost, provenance.Wrote, flnk, 1820, 14)
	b.Edge(f, provenance.Contains, flnk, 1820, 0)
	b.Edge(f, provenance.Contains, rootdir, 1801, 0)

	critical, high4, med := detect.Critical, detect.High, detect.Medium
	b.Detect(wscript, Rule("usb-script", "Execution/EDR.Script.M10021", high4, "T1091 T1059.005",
		"A shortcut on the stick started a script", "USB 上のショートカットがスクリプトを起動した", "USB의 바로 가기가 스크립트를 실행함"), 9.2)
	b.Detect(folder, Rule("mock-folder", "DefenseEvasion/EDR.MockFolder.M10044", high4, "T1036.005 T1548.002",
		"A folder that imitates the Windows folder was created", "Windows フォルダーに偽装したフォルダーが作成された", "Windows 폴더를 위장한 폴더가 생성됨"), 10.4)
	b.Detect(high, Rule("silent-elevation", "PrivilegeEscalation/EDR.UAC.M10107", critical, "T1548.002",
		"A program ran elevated without a prompt", "確認なしで昇格して実行された", "확인 없이 상승된 권한으로 실행됨"), 13.1)
	b.Detect(high, Rule("side-load", "DefenseEvasion/EDR.SideLoad.M10108", high4, "T1574.001",
		"DLL side-loading in a folder of the user's making", "利用者が作れるフォルダーでの DLL サイドローディング", "사용자가 만든 폴더에서 DLL 사이드로딩"), 13.3)
	b.Detect(ps, Rule("defender-exclusion", "DefenseEvasion/EDR.WindowDefender.M11093", high4, "T1562.001",
		"Defender was told not to scan the Windows folder", "Defender のスキャン例外に Windows フォルダーが登録された", "Defender 검사 예외에 Windows 폴더가 등록됨"), 14)
	b.Detect(ex1, Rule("defender-exclusion-mock", "DefenseEvasion/EDR.WindowDefender.M11094", high4, "T1562.001",
		"Exclusion for the imitated folder", "偽装フォルダーがスキャン例外に登録された", "위장 폴더가 검사 예외에 등록됨"), 15.2)
	b.Detect(service, Rule("service", "Persistence/EDR.Event.M12408", critical, "T1543.003 T1036.004",
		"The miner was registered as a service", "コインマイナーがサービスとして登録された", "코인 마이너가 서비스로 등록됨", "Persistence/EDR.Event.M12408"), 17.5)
	b.Detect(svchost, Rule("service-dll", "Persistence/EDR.ServiceDll.M12410", high4, "T1569.002",
		"A service host loaded an unsigned module", "サービス ホストが署名のないモジュールを読み込んだ", "서비스 호스트가 서명 없는 모듈을 로드함"), 19.3)
	b.Detect(task, Rule("task", "Persistence/DETECT.T1053.M2676", high4, "T1053.005",
		"The updater was registered as a scheduled task", "更新プログラムがタスクスケジューラに登録された", "업데이트 프로그램이 작업 스케줄러에 등록됨", "Suspicious/DETECT.T1053.M2676"), 18.2)
	b.Detect(miner, Rule("pool", "Impact/EDR.Miner.M13001", high4, "T1496",
		"A program mines on this computer's CPU", "この PC の CPU で採掘している", "이 PC의 CPU로 채굴 중"), 22.2)
	b.Detect(flnk, Rule("usb-spread", "LateralMovement/EDR.USB.M13050", critical, "T1091",
		"Another stick was infected", "別の USB に伝播した", "다른 USB로 전파됨"), 1820)
	b.Detect(rootdir, Rule("hidden-files", "DefenseEvasion/EDR.Hidden.M13020", med, "T1564.001",
		"The user's files were hidden", "利用者のファイルが隠された", "사용자 파일이 숨겨짐"), 1802)
	b.Incident.Persistence = []incident.Persistence{
		{Node: service, Kind: "service"},
		{Node: task, Kind: "task"},
		{Node: ex1, Kind: "exclusion"},
		{Node: ex2, Kind: "exclusion"},
		{Node: folder, Kind: "folder"},
		{Node: svcDLL, Kind: "file"},
		{Node: minerFile, Kind: "file"},
		{Node: updFile, Kind: "file"},
	}
	b.Incident.Gaps = []incident.Gap{{Host: "HOST-1", Reason: "record-hole", From: At(500), To: At(560), Count: 37}}
	c := b.Finish(e, incident.RootVolume)
	c.Incident.Root.Path = []provenance.NodeID{e, lnk, wscript}
	c.Incident.Alternatives = []incident.Root{{Kind: incident.RootInteractive, Node: explorer, Confidence: incident.Guess, Cost: 40, Path: []provenance.NodeID{explorer, wscript}}}
	c.Incident.TitleKeys = []string{"volume", "subject-mining", "mock-folder", "defender-exclusion", "service-and-task", "usb-spread"}
	for i, s := range [][]string{
		{"volume-attached", "E:", "HOST-1", "4C53-0B77"},
		{"shortcut-opened", `E:\USB Drive.lnk`, "wscript.exe", `E:\rootdir\x482910.vbs`},
		{"started", "wscript.exe", "cmd.exe"},
		{"mock-folder-created", "cmd.exe", mock},
		{"copied-mock", "cmd.exe", mock + `\printui.exe`},
		{"elevated-silently", mock + `\printui.exe`, "High"},
		{"side-loaded", mock + `\printui.exe`, mock + `\printui.dll`},
		{"excluded", "powershell.exe", mock + ", " + sys},
		{"dropped", "printui.exe", sys + `\x617283.dat, ` + sys + `\console_zero.exe, ` + sys + `\update_svc.exe`},
		{"miner-service-registered", "printui.exe", "x617283", sys + `\x617283.dat`},
		{"service-loaded", "x617283", "svchost.exe", sys + `\x617283.dat`},
		{"miner-task-registered", "printui.exe", `\console_zero`, sys + `\update_svc.exe`},
		{"mining", "console_zero.exe", "198.51.100.7:3333"},
		{"spread", "svchost.exe", "F:", "46", `F:\USB Drive.lnk`},
	} {
		c.Incident.Story[i].Key, c.Incident.Story[i].Args = s[0], s[1:]
	}
	for i, behaviours := range []string{
		"", "usb-script", "usb-script", "mock-folder", "dropped-program mock-folder", "auto-elevation", "side-load", "defender-exclusion",
		"dropped-program", "service-persistence", "service-run", "task-persistence", "mining", "hidden-files usb-spread",
	} {
		c.Incident.Story[i].Behaviours = strings.Fields(behaviours)
	}
	return c
}

// Tiny is one program that started another.
func Tiny() *Case {
	b := NewBuilder("PC-7")
	parent := b.Node(provenance.Process, "p", "winword.exe", `C:\Program Files\Microsoft Office\root\Office16\winword.exe`, 0)
	b.Get(parent).Implied, b.Get(parent).Reason = true, "start-not-recorded"
	child := b.Node(provenance.Process, "c", "powershell.exe", `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, 1,
		"CommandLine=powershell -enc SQBFAFgA", "IntegrityLevel=Medium")
	b.Edge(parent, provenance.Started, child, 1, 1)
	b.Detect(child, Rule("office-child", "Execution/EDR.Office.M10001", detect.High, "T1204.002 T1059.001",
		"Office started a script host", "Office がスクリプトホストを起動した", "Office가 스크립트 호스트를 실행함"), 1)
	return b.Finish(parent, incident.RootDocument)
}

// Large is a bursting incident of about 5,000 nodes: many processes, files and
// connections with few detections.
func Large() *Case {
	b := NewBuilder("SRV-3")
	root := b.Node(provenance.Logon, "l", "0x3e7a1", "", 0, "User=CORP\\admin")
	rule := Rule("encrypt", "Impact/EDR.Ransom.M20001", detect.Critical, "T1486",
		"Files were encrypted", "ファイルが暗号化された", "파일이 암호화됨")
	odd := Rule("odd", "Execution/EDR.Odd.M20002", detect.Medium, "T1059", "An unusual child process", "通常と異なる子プロセス", "비정상적인 자식 프로세스")
	procs := []provenance.NodeID{}
	n := uint32(12345)
	next := func(m int) int { n = n*1664525 + 1013904223; return int(n>>8) % m }
	for i := range 700 {
		t := 1 + float64(i)
		parent := root
		verb := provenance.LoggedOn
		if len(procs) > 3 {
			parent, verb = procs[next(len(procs))], provenance.Started
		}
		p := b.Node(provenance.Process, fmt.Sprintf("p%03d", i), fmt.Sprintf("tool%02d.exe", i%17), fmt.Sprintf(`C:\Tools\t%d\tool%02d.exe`, i%9, i%17), t,
			fmt.Sprintf("CommandLine=tool%02d.exe --run %d", i%17, i))
		b.Edge(parent, verb, p, t, 1+i%20)
		procs = append(procs, p)
		for k := range next(12) {
			f := b.Node(provenance.File, fmt.Sprintf("f%03d-%d", i, k), fmt.Sprintf("doc%d.locked", k), fmt.Sprintf(`D:\share\%d\doc%d.locked`, i%5, k), t+0.1)
			b.Edge(p, provenance.Wrote, f, t+0.1, 1+i%20)
		}
		if i%3 == 0 {
			a := b.Node(provenance.Address, fmt.Sprintf("a%03d", i), fmt.Sprintf("192.0.2.%d:445", i%250), "", t+0.2)
			b.Edge(p, provenance.Connected, a, t+0.2, 0)
		}
		if i%97 == 50 {
			b.Detect(p, rule, t)
		}
		if i%61 == 7 {
			b.Detect(p, odd, t)
		}
		if i > 10 {
			b.Edge(procs[next(len(procs))], provenance.Accessed, p, t+0.5, 0)
		}
	}
	return b.Finish(root, incident.RootRemoteLogon)
}

// Hostile holds texts that try to break out, mislead or overflow.
func Hostile() *Case {
	b := NewBuilder("</script><img src=x onerror=alert(1)>")
	root := b.Node(provenance.File, "</title>", "invoice\u202efdp.exe", "C:\\Users\\a\"'<>&\\invoice\u202efdp.exe", 0)
	shell := b.Node(provenance.Process, "x", `<svg onload=alert(1)>.exe`, `C:\<svg onload=alert(1)>.exe`, 1,
		"CommandLine="+strings.Repeat(`A "quoted" <b>word</b> && `, 1260)+"end")
	nul := b.Node(provenance.File, "nul", "nul\x00name \xed\xa0\x80.txt", "D:\\ x\\nul\x00name \xed\xa0\x80.txt", 2, "Comment=javascript:alert(1)")
	arabic := b.Node(provenance.File, "ar", "مرحبا بالعالم ملف طويل جدا.exe", "D:\\﷽\\مرحبا بالعالم ملف طويل جدا.exe", 3)
	wide := b.Node(provenance.File, "wide", strings.Repeat("非常に長い日本語の名前", 12)+".docx", `D:\`+strings.Repeat("資料", 60)+`\x.docx`, 4)
	emoji := b.Node(provenance.Folder, "emoji", "👩‍👩‍👧‍👦👍🏽 \u200b\u00a0", "D:\\👩‍👩‍👧‍👦\u200b\u00a0", 5)
	empty := b.Node(provenance.RegistryValue, "empty", "", "", 6)
	long := b.Node(provenance.Domain, "long", strings.Repeat("a", 60)+"."+strings.Repeat("b", 60)+".example", "", 7)
	css := b.Node(provenance.Task, "css", `</style><style>*{display:none}`, `\]]><!--`, 8, "Command=url(http://evil.example/x) =cmd|' /C calc'!A0")
	b.Edge(root, provenance.Executed, shell, 1, 1)
	for i, n := range []provenance.NodeID{nul, arabic, wide, emoji, empty, long, css} {
		b.Edge(shell, provenance.Verb(i+4), n, 2+float64(i), 2)
	}
	gap := b.Node(provenance.Gap, "gap", "", "", 9)
	b.Get(gap).Reason = "log-cleared"
	b.Detect(shell, Rule("<b>", "<i>name</i>", detect.Critical, "T1059 T1204.002 T1036.002 T1027 T1055",
		"<script>alert(1)</script> \u202ereversed and a very long title that goes on and on beyond every measure", "<script>alert(1)</script>とても長い題名がどこまでも続いて枠に収まらないはずのもの、さらに続く", "<script>alert(1)</script>", "=1+1"), 1)
	return b.Finish(root, incident.RootDownload)
}

// Hosts is an intrusion that goes from one host to the next two.
func Hosts() *Case {
	b := NewBuilder("WS-11")
	mail := b.Node(provenance.File, "doc", "offer.docm", `C:\Users\mika\Downloads\offer.docm`, 0)
	word := b.Node(provenance.Process, "word", "winword.exe", `C:\Program Files\Microsoft Office\root\Office16\winword.exe`, 2, "IntegrityLevel=Medium")
	ps := b.Node(provenance.Process, "ps", "powershell.exe", `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, 4, "CommandLine=powershell -nop -w hidden -c IEX(…)")
	lsass := b.Node(provenance.Process, "lsass", "lsass.exe", `C:\Windows\System32\lsass.exe`, -9000)
	b.Edge(mail, provenance.Opened, word, 2, 1).Class = provenance.ClassB
	b.Edge(word, provenance.Started, ps, 4, 2)
	b.Edge(ps, provenance.Accessed, lsass, 60, 3)
	rule := Rule("lateral", "LateralMovement/EDR.Service.M30001", detect.Critical, "T1021.002 T1569.002",
		"A service was made from another computer", "別の端末からサービスが作成された", "다른 컴퓨터에서 서비스가 생성됨")
	b.Detect(lsass, Rule("lsass", "CredentialAccess/EDR.LSASS.M30000", detect.High, "T1003.001",
		"Credentials were read from memory", "メモリから資格情報が読まれた", "메모리에서 자격 증명을 읽음"), 60)
	for i, h := range []string{"SRV-1", "SRV-2"} {
		b.Host = h
		t := 100 + 50*float64(i)
		logon := b.Node(provenance.Logon, "l", "0x1f3a"+strconv.Itoa(i), "", t, "User=CORP\\svc-backup")
		svc := b.Node(provenance.Service, "s", "BTOBTO", "", t+3, `ImagePath=%COMSPEC% /Q /c echo cd ^> \\127.0.0.1\C$\__output`)
		cmd := b.Node(provenance.Process, "c", "cmd.exe", `C:\Windows\System32\cmd.exe`, t+4, `CommandLine=cmd.exe /Q /c whoami`)
		b.Edge(ps, provenance.LoggedOn, logon, t, 4+i).Class = provenance.ClassB
		b.Edge(logon, provenance.Registered, svc, t+3, 4+i)
		b.Edge(svc, provenance.RanAs, cmd, t+4, 4+i)
		b.Edge(ps, provenance.Related, cmd, t+5, 0).Class = provenance.ClassC
		b.Detect(svc, rule, t+3)
	}
	return b.Finish(mail, incident.RootDocument)
}
