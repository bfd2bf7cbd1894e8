package normalize

import (
	"slices"

	"ashiato/internal/event"
)

// derived are the fields that functions of the tables add from several others.
var derived = []string{
	"Data", "LogonId", "TargetFilename", "TargetObject", "User", "HostApplication", "ClearedLog",
	"Package", "ClientProcessId", "Product", "Version", // of Windows Installer's values
	"ClientMachine", "Consumer", "Filter", "HostProcess", "HostProcessId", "Namespace", "Operation", "PossibleCause",
	"ProviderPath", "Query", "ResultCode", // of WMI-Activity's message
	// of the records of an audit event
	"ProcessId", "Image", "ParentProcessId", "CurrentDirectory", "CommandLine", "SourceFilename", "DestinationIp", "DestinationPort", "Initiated",
	"TargetUserName", "TargetLogonId", "IpAddress", "LogonType", "ServiceName", "State",
	"NewValue", "OldValue", // of the exclusions that the sensor reads back
}

// Kinds returns the kinds that Event may give a record with that provider,
// channel and event id.
func Kinds(provider, channel string, id uint32) []event.Kind {
	r, ok := tables[logOf(provider, channel)][id]
	switch {
	case !ok:
		return []event.Kind{event.Other}
	case r.refine != nil:
		return event.Kinds()
	}
	return []event.Kind{r.kind}
}

// Adds reports whether Event may give such a record a field of that name which
// it does not have itself. Names with blanks, which are made available without
// them, do not count.
func Adds(provider, channel string, id uint32, name string) bool {
	r, ok := tables[logOf(provider, channel)][id]
	return ok && (slices.ContainsFunc(r.fields, func(m mapping) bool { return m.canon == name }) ||
		r.derive != nil && slices.Contains(derived, name))
}

// ReadsTime reports whether Event takes the time of a record from a field of
// that name.
func ReadsTime(name string) bool { return name == timeField }
