package provenance

import (
	"fmt"
	"time"

	"ashiato/internal/event"
)

// NodeID names a node for good: it is made from the node's identity only
// (host, kind and key), never from the order of arrival.
type NodeID string

// NodeKind says what a node is.
type NodeKind uint8

// The node kinds.
const (
	Host NodeKind = iota
	Volume
	Process
	File
	Folder
	RegistryValue
	Service   // a unit: carries lineage from who registered it to what it ran
	Task      // a unit, likewise
	Exclusion // a path, process or extension that Windows Defender was told to skip
	Address   // an IP address and port
	Domain
	Logon // a logon session
	Gap   // something that was not seen, with the reason in Node.Reason
	// The units of what Windows does on another's behalf.
	WMI       // an operation asked of WMI, or an event consumer registered with it
	COM       // a COM server started for someone
	BITS      // a job of the Background Intelligent Transfer Service
	Installer // a transaction of Windows Installer
	nodeKindCount
)

var nodeKindNames = [nodeKindCount]string{
	"host", "volume", "process", "file", "folder", "registry", "service", "task",
	"exclusion", "address", "domain", "logon", "gap", "wmi", "com", "bits", "installer",
}

// String returns the kind's stable name, as in machine output.
func (k NodeKind) String() string {
	if k < nodeKindCount {
		return nodeKindNames[k]
	}
	return fmt.Sprintf("node(%d)", uint8(k))
}

// NodeKinds returns every node kind in order.
func NodeKinds() []NodeKind {
	all := make([]NodeKind, nodeKindCount)
	for i := range all {
		all[i] = NodeKind(i)
	}
	return all
}

// Node is a thing that took part: a process, a file version, a service …
type Node struct {
	ID   NodeID
	Kind NodeKind
	Host string // as recorded
	// Label is the short name drawn in a box: a file's base name, a service's
	// name, "E:" for a volume. Never localised.
	Label string
	// Path is the full path, registry path or address, as recorded.
	Path string
	// Attrs are further facts worth showing, under taxonomy names
	// (CommandLine, IntegrityLevel, User, ProcessId, Hashes, Signed, Serial,
	// ServiceDll …), sorted by name.
	Attrs []event.Field
	// First and Last bound when it was seen; both UTC.
	First, Last time.Time
	// Ended is when a process ended, or a file, unit or value was deleted that was
	// not made again; zero if no record says so.
	Ended time.Time
	// Existing marks a service that was there before: it was only changed.
	Existing bool
	// Implied marks a node known only from another record, such as a parent
	// whose own start was not recorded. Reason is the stable word for why, or
	// for what a Gap stands for ("start-not-recorded", "log-cleared", …).
	Implied bool
	Reason  string
	// Hub marks a broker (services.exe, the Schedule service, explorer …) that
	// never carries lineage.
	Hub bool
	// Origins are what it came of, the earliest first and at most MaxOrigins;
	// OriginCount is how many there are. See Graph.FollowOrigins.
	Origins     []Origin
	OriginCount int
	// Evidence are records that show the node itself, at most MaxNodeEvidence,
	// in evidence order.
	Evidence []event.EvidenceRef
}

// Attr returns the node's attribute of that name, "" if it has none.
func (n *Node) Attr(name string) string {
	for i := range n.Attrs {
		if n.Attrs[i].Name == name {
			return n.Attrs[i].Value
		}
	}
	return ""
}

// Class is how sure a join is; see architecture §3.6.
type Class uint8

// The classes. Only A and B join incidents.
const (
	ClassA Class = iota // an identity key joins the two
	ClassB              // a unique content key joins the two
	ClassC              // a guess: shown as related, never joined on
)

// String returns "A", "B" or "C".
func (c Class) String() string { return string('A' + rune(c)) }

// Verb is what the source of an edge did to its target. Verbs are stable words;
// the reader's language is applied when drawing.
type Verb uint8

// The verbs.
const (
	Attached    Verb = iota // volume → host: the volume appeared
	Opened                  // someone opened a file, e.g. a shortcut
	Started                 // a process, or a script file, started a process
	Elevated                // the same program again with higher integrity
	Created                 // created a folder or an empty object
	Wrote                   // wrote a file
	Renamed                 // a file got another name
	Deleted                 // deleted a file or object
	Executed                // file → the process that runs it
	Interpreted             // file → the process that was given it as a script argument
	Loaded                  // file → the process that loaded it as a module
	Excluded                // told Windows Defender to skip a path
	Registered              // created a service or task
	Configured              // changed a service, task or registry value
	RanAs                   // service, task or another unit → the process it ran
	Connected               // to an address
	Resolved                // a domain name
	Hid                     // set the hidden attribute, or moved into a hidden folder
	Injected                // wrote to or started a thread in another process
	Accessed                // opened another process's memory
	LoggedOn                // logon → the processes of its session, or a remote logon
	Contains                // volume or folder → what lies on it
	Related                 // a guess (class C), or what an explicit correlation holds together (class B)
	Requested               // asked a broker (WMI, COM, BITS, the installer, another machine) to do something
	Copied                  // file → another file with the same content
	verbCount
)

var verbNames = [verbCount]string{
	"attached", "opened", "started", "elevated", "created", "wrote", "renamed", "deleted",
	"executed", "interpreted", "loaded", "excluded", "registered", "configured", "ran",
	"connected", "resolved", "hid", "injected", "accessed", "logged-on", "contains", "related", "requested", "copied",
}

// String returns the verb's stable name, as in machine output.
func (v Verb) String() string {
	if v < verbCount {
		return verbNames[v]
	}
	return fmt.Sprintf("verb(%d)", uint8(v))
}

// Verbs returns every verb in order.
func Verbs() []Verb {
	all := make([]Verb, verbCount)
	for i := range all {
		all[i] = Verb(i)
	}
	return all
}

// Edge is a cited fact: From did Verb to To, in the direction of causation
// (From made To happen), so backward along edges is towards the root cause.
type Edge struct {
	From, To NodeID
	Verb     Verb
	Class    Class
	// Skeleton edges carry lineage (backward to roots, forward to impact) and
	// join incidents if their class is A or B. Others are context.
	Skeleton bool
	// Severed marks an edge that an analyst pinned apart.
	Severed bool
	// First and Last bound the facts merged into this edge; Count is how many.
	First, Last time.Time
	Count       int
	// Join is the stable word for why the two ends belong together, such as
	// "parent-guid", "start-key", "service-image", "file-written-then-loaded".
	Join string
	// Evidence has at least one record: the first, the last, and up to
	// MaxEdgeEvidence in all, in evidence order.
	Evidence []event.EvidenceRef
}

// Bounds on what one node and one edge keep. Count still counts everything.
const (
	MaxNodeEvidence = 4
	MaxEdgeEvidence = 8
)
