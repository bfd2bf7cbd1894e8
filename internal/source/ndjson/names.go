package ndjson

import "strings"

// Bounds of the table of names.
const (
	maxNames = 4096
	maxName  = 256 // bytes of a name
)

// name is a member name and what it means in the places where names have a
// meaning, so that this is found out once and not in every record.
type name struct {
	text   string
	shape  shapeName
	flat   flatName
	tree   treeName
	system systemName
	plain  bool // as a member of an element, it is an element in it
	// next are names that followed it, in the order of the text; a new one comes
	// first and the last is forgotten. As many as an "#attributes" of a System part has.
	next [4]int32
}

func newName(text string) name {
	n := name{text: text, shape: shapeNames[text], flat: flatNames[text], tree: treeNames[text], system: systemFields[text]}
	if n.shape == noShape && strings.HasPrefix(text, "winlog.") {
		n.shape = shapeDottedWinlog
	}
	n.plain = text != "" && text[0] != '#' && text[0] != '@' && text != "Data" && !strings.HasSuffix(text, "_attributes")
	return n
}

// names are the member names seen in this input. Records of a log have the same
// names in the same order again and again, so that the name before tells which
// comes next, and comparing is all there is to do. list[0] stands for the
// beginning of a record.
type names struct {
	list  []name
	index map[string]int32
}

// reset makes the table ready for a record. A full one begins anew.
func (t *names) reset() {
	if t.index == nil || len(t.list) > maxNames {
		t.list = append(t.list[:0], name{})
		t.index = map[string]int32{}
	}
}

// guess returns the name that stands at text[i:], before a quote, if it is one
// of those that followed the name before; else 0.
func (t *names) guess(before int32, text []byte, i int) (id int32, end int) {
	list := t.list
	for _, id := range &list[before].next {
		if id == 0 {
			break
		}
		want := list[id].text
		if end := i + len(want); end < len(text) && text[end] == '"' && string(text[i:end]) == want {
			return id, end
		}
	}
	return 0, 0
}

// find returns the name that text is, or 0 if the table does not take it.
func (t *names) find(before int32, text []byte) int32 {
	id, ok := t.index[string(text)]
	if !ok {
		if len(text) > maxName || len(t.list) > maxNames {
			return 0
		}
		n := newName(string(text))
		id = int32(len(t.list))
		t.list = append(t.list, n)
		t.index[n.text] = id
	}
	next := &t.list[before].next
	copy(next[1:], next[:len(next)-1])
	next[0] = id
	return id
}

// table returns the map of each name of the groups to its group's key.
func table[K ~uint8](groups map[K][]string) map[string]K {
	out := map[string]K{}
	for k, names := range groups {
		for _, n := range names {
			out[n] = k
		}
	}
	return out
}

// shapeName is what a member of the outermost object says of its shape.
type shapeName uint8

const (
	noShape shapeName = iota
	shapeEvent
	shapeSystem
	shapeInner
	shapeWinlog
	shapeDottedWinlog
	shapeOldBeat
	shapeFlat
	shapeSyslog
	shapeOwn
	shapeFraming
)

var shapeNames = table(map[shapeName][]string{
	shapeEvent:   {"Event"},
	shapeSystem:  {"System"},
	shapeInner:   {"_source", "fields", "document", "data"},
	shapeWinlog:  {"winlog"},
	shapeOldBeat: {"event_data", "log_name"},
	shapeFlat:    {"EventID", "EventId", "Id", "event_id"},
	shapeSyslog:  {"SyslogMessage"},
	shapeOwn:     {"ashiato"},
	shapeFraming: {"index", "create"},
})

// systemName is a System field by its name in the XML.
type systemName uint8

const (
	noSystem systemName = iota
	eventID
	version
	level
	task
	opcode
	keywords
	eventRecordID
	channel
	computer
	// From here on the element holds no value of its own.
	providerElement
	timeElement
	executionElement
	securityElement
	// These are attributes.
	processID
	threadID
	userID
	provider
	systemNames // how many there are
)

var systemFields = table(map[systemName][]string{
	eventID:          {"EventID"},
	version:          {"Version"},
	level:            {"Level"},
	task:             {"Task"},
	opcode:           {"Opcode"},
	keywords:         {"Keywords"},
	eventRecordID:    {"EventRecordID"},
	channel:          {"Channel"},
	computer:         {"Computer"},
	providerElement:  {"Provider", "Provider_attributes"},
	timeElement:      {"TimeCreated", "TimeCreated_attributes"},
	executionElement: {"Execution", "Execution_attributes"},
	securityElement:  {"Security", "Security_attributes"},
})

// treeName is a member of the object that holds System.
type treeName uint8

const (
	_ treeName = iota
	treeSystem
	treeEventData
	treeEventDataAttributes
	treeUserData
	treeMessage
	treeIgnored
)

var treeNames = table(map[treeName][]string{
	treeSystem:              {"System"},
	treeEventData:           {"EventData"},
	treeEventDataAttributes: {"EventData_attributes"},
	treeUserData:            {"UserData"},
	treeMessage:             {"Message"},
	treeIgnored:             {"RenderingInfo", "#attributes", "Event_attributes", "UserData_attributes", "ashiato"},
})

// flatName is a member of a flat record.
type flatName uint8

const (
	flatField flatName = iota // a field of the event
	flatEventID
	flatID
	flatChannel
	flatComputer
	flatProvider
	flatVersion
	flatLevel
	flatTask
	flatKeywords
	flatOpcodeValue
	flatOpcode
	flatRecordID
	flatExecution
	flatThread
	flatProcessID
	flatThreadID
	flatUserID
	flatEventType
	flatSeverity
	flatTimestamp
	flatTime
	flatReceived
	flatMessage
	flatEventData
	flatProperties
	flatAccount
	flatAccountType // what only NXLog has
	flatTenant      // what only Log Analytics has
	flatShipper     // added by the log shipper
	flatAnalytics   // a column of the table in Log Analytics
)

// flatSet says which of them a record has.
type flatSet uint32

func (s flatSet) has(f flatName) bool { return s&(1<<f) != 0 }

var flatNames = table(map[flatName][]string{
	flatEventID:     {"EventID", "EventId", "event_id"},
	flatID:          {"Id"},
	flatChannel:     {"Channel", "LogName"},
	flatComputer:    {"Hostname", "Computer", "ComputerName", "MachineName"},
	flatProvider:    {"SourceName", "ProviderName", "Provider_Name", "EventSourceName"},
	flatVersion:     {"Version"},
	flatLevel:       {"Level"},
	flatTask:        {"Task"},
	flatKeywords:    {"Keywords"},
	flatOpcodeValue: {"OpcodeValue"},
	flatOpcode:      {"Opcode"},
	flatRecordID:    {"RecordNumber", "EventRecordID", "RecordId"},
	flatExecution:   {"ExecutionProcessID", "Execution_ProcessID"},
	flatThread:      {"ThreadID", "Execution_ThreadID", "ExecutionThreadID"},
	flatProcessID:   {"ProcessId"},
	flatThreadID:    {"ThreadId"},
	flatUserID:      {"UserID", "UserId", "Security_UserID"},
	flatEventType:   {"EventType"},
	flatSeverity:    {"SeverityValue"},
	flatTimestamp:   {"@timestamp", "TimeGenerated"},
	flatTime:        {"EventTime", "TimeCreated"},
	flatReceived:    {"EventReceivedTime"},
	flatMessage:     {"Message"},
	flatEventData:   {"EventData"},
	flatProperties:  {"Properties"},
	flatAccount:     {"AccountName", "Domain"},
	flatAccountType: {"AccountType"},
	flatTenant:      {"TenantId"},
	flatShipper: {
		"@version", "Severity", "SourceModuleName", "SourceModuleType", "host", "port", "tags",
		"Category", "ERROR_EVT_UNRESOLVED", "ProviderGuid", "ProviderId", "ActivityID", "RelatedActivityID",
		"LevelDisplayName", "OpcodeDisplayName", "TaskDisplayName", "KeywordsDisplayNames", "ContainerLog",
		"MatchedQueryIds", "Bookmark", "Qualifiers", "RelatedActivityId", "PSComputerName", "RunspaceId",
		"PSShowComputerName",
	},
	flatAnalytics: {
		"SourceSystem", "EventOriginId", "MG", "ManagementGroupName", "Type", "_ResourceId", "TimeCollected",
		"SourceComputerId", "Activity", "EventLevelName", "AzureDeploymentID", "Role",
	},
})
