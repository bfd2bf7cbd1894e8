package auditd

import (
	"bytes"
	"strconv"
	"strings"

	"ashiato/internal/event"
)

// separator stands between what the kernel wrote and what auditd adds to it where
// it writes names instead of numbers (log_format = ENRICHED).
const separator = 0x1D

// maxNested is how deep values may hold fields. What programs write holds them once:
// msg='op=login acct="a"'.
const maxNested = 3

// appendFields reads "name=value name=value …" of a record. A value in single
// quotes or braces holds fields itself, which take its place; text that is no field
// is passed over. nested is how deep b lies in such values.
func appendFields(fields event.Fields, kind string, b []byte, nested int) event.Fields {
	for len(fields) < MaxFields {
		b = bytes.TrimLeft(b, " \t\x1d,:")
		if len(b) == 0 {
			break
		}
		end := bytes.IndexAny(b, "= \x1d")
		if end < 0 {
			break
		}
		if b[end] != '=' {
			b = b[end:] // a word of prose, as in "avc:  denied  { read } for"
			continue
		}
		name := string(b[:end])
		b = b[end+1:]
		if name == "" {
			continue // a stray "="
		}
		var value []byte
		quoted := false
		switch {
		case len(b) > 0 && b[0] == '\'':
			value, b = until(b[1:], '\'')
			if nested < maxNested && bytes.IndexByte(value, '=') >= 0 {
				fields = appendFields(fields, kind, value, nested+1)
				continue
			}
			quoted = true
		case nested < maxNested && len(b) > 0 && b[0] == '{':
			value, b = until(b[1:], '}')
			fields = appendFields(fields, kind, value, nested+1)
			continue
		case len(b) > 0 && b[0] == '"':
			value, b = until(b[1:], '"')
			quoted = true
		default:
			i := bytes.IndexAny(b, " \x1d")
			if i < 0 {
				i = len(b)
			}
			value, b = b[:i], b[i:]
		}
		v := string(value)
		if !quoted && encoded(kind, name) {
			if raw, ok := decodeHex(value); ok {
				v = raw
			}
		}
		fields = append(fields, event.Field{Name: name, Value: v})
	}
	return fields
}

// until returns what is before the delimiter and what is behind it; all if there
// is none.
func until(b []byte, delimiter byte) (before, behind []byte) {
	if i := bytes.IndexByte(b, delimiter); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// untrusted are the fields that the kernel and programs write in hexadecimal when
// the text holds a blank, a quote or a byte that is not printable.
var untrusted = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(`name comm exe cwd proctitle acct cmd data key path dir file vm grp grantors
		watch ocomm ogid_name unit old-acct new-acct home apparmor profile`) {
		m[n] = true
	}
	return m
}()

// encoded reports whether a value of that name, written without quotes, may be
// hexadecimal text.
func encoded(kind, name string) bool {
	return untrusted[name] || kind == "EXECVE" && argument(name) >= 0
}

// argument returns which argument of a program a field of an EXECVE record is, -1
// for other fields: "a2", and "a2[0]", a piece of one that is long.
func argument(name string) int {
	if len(name) < 2 || name[0] != 'a' {
		return -1
	}
	number, _, _ := strings.Cut(name[1:], "[")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

func decodeHex(b []byte) (string, bool) {
	if len(b) == 0 || len(b)%2 != 0 {
		return "", false
	}
	out := make([]byte, len(b)/2)
	for i := range out {
		hi, lo := digit(b[2*i]), digit(b[2*i+1])
		if hi > 15 || lo > 15 {
			return "", false
		}
		out[i] = hi<<4 | lo
	}
	return string(out), true
}

// digit is the value of a hexadecimal digit as the kernel writes it, in upper case.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// joinArguments puts the pieces of long arguments together, which may be spread
// over several EXECVE records: "a1[0]", "a1[1]" become "a1".
func joinArguments(fields event.Fields) event.Fields {
	const piece = "["
	if !hasPieces(fields) {
		return fields
	}
	joined := make(event.Fields, 0, len(fields))
	at := map[string]int{}
	parts := map[string]*strings.Builder{}
	kind := ""
	for _, f := range fields {
		if f.Name == "type" {
			kind = f.Value
		}
		name, _, ok := strings.Cut(f.Name, piece)
		if !ok || kind != "EXECVE" || argument(f.Name) < 0 {
			joined = append(joined, f)
			continue
		}
		if parts[name] == nil {
			parts[name] = &strings.Builder{}
			at[name] = len(joined)
			joined = append(joined, event.Field{Name: name})
		}
		parts[name].WriteString(f.Value)
	}
	for name, b := range parts {
		joined[at[name]].Value = b.String()
	}
	return joined
}

func hasPieces(fields event.Fields) bool {
	for _, f := range fields {
		if f.Name[0] == 'a' && strings.HasSuffix(f.Name, "]") {
			return true
		}
	}
	return false
}

// TypeNumber is the number of a record type (linux/audit.h and libaudit), 0 if it is
// not known. "UNKNOWN[1420]" is 1420.
func TypeNumber(name string) uint32 {
	if n, ok := typeNumbers[name]; ok {
		return n
	}
	if number, ok := strings.CutPrefix(name, "UNKNOWN["); ok {
		n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
		if err == nil {
			return uint32(n)
		}
	}
	return 0
}

var typeNumbers = map[string]uint32{
	"LOGIN": 1006, "USER_AUTH": 1100, "USER_ACCT": 1101, "USER_MGMT": 1102, "CRED_ACQ": 1103, "CRED_DISP": 1104, "USER_START": 1105,
	"USER_END": 1106, "USER_AVC": 1107, "USER_CHAUTHTOK": 1108, "USER_ERR": 1109, "CRED_REFR": 1110, "USYS_CONFIG": 1111,
	"USER_LOGIN": 1112, "USER_LOGOUT": 1113, "ADD_USER": 1114, "DEL_USER": 1115, "ADD_GROUP": 1116, "DEL_GROUP": 1117,
	"DAC_CHECK": 1118, "CHGRP_ID": 1119, "TEST": 1120, "TRUSTED_APP": 1121, "USER_SELINUX_ERR": 1122, "USER_CMD": 1123,
	"USER_TTY": 1124, "CHUSER_ID": 1125, "GRP_AUTH": 1126, "SYSTEM_BOOT": 1127, "SYSTEM_SHUTDOWN": 1128, "SYSTEM_RUNLEVEL": 1129,
	"SERVICE_START": 1130, "SERVICE_STOP": 1131, "GRP_MGMT": 1132, "GRP_CHAUTHTOK": 1133, "MAC_CHECK": 1134, "ACCT_LOCK": 1135,
	"ACCT_UNLOCK": 1136, "USER_DEVICE": 1137, "SOFTWARE_UPDATE": 1138,
	"DAEMON_START": 1200, "DAEMON_END": 1201, "DAEMON_ABORT": 1202, "DAEMON_CONFIG": 1203, "DAEMON_ROTATE": 1205, "DAEMON_RESUME": 1206,
	"DAEMON_ACCEPT": 1207, "DAEMON_CLOSE": 1208, "DAEMON_ERR": 1209,
	"SYSCALL": 1300, "PATH": 1302, "IPC": 1303, "SOCKETCALL": 1304, "CONFIG_CHANGE": 1305, "SOCKADDR": 1306, "CWD": 1307,
	"EXECVE": 1309, "IPC_SET_PERM": 1311, "MQ_OPEN": 1312, "KERNEL_OTHER": 1316, "FD_PAIR": 1317, "OBJ_PID": 1318, "TTY": 1319,
	"EOE": 1320, "BPRM_FCAPS": 1321, "CAPSET": 1322, "MMAP": 1323, "NETFILTER_PKT": 1324, "NETFILTER_CFG": 1325, "SECCOMP": 1326,
	"PROCTITLE": 1327, "FEATURE_CHANGE": 1328, "REPLACE": 1329, "KERN_MODULE": 1330, "FANOTIFY": 1331, "TIME_INJOFFSET": 1332,
	"TIME_ADJNTPVAL": 1333, "BPF": 1334, "EVENT_LISTENER": 1335, "URINGOP": 1336, "OPENAT2": 1337, "DM_CTRL": 1338, "DM_EVENT": 1339,
	"AVC": 1400, "SELINUX_ERR": 1401, "MAC_POLICY_LOAD": 1403, "MAC_STATUS": 1404, "MAC_CONFIG_CHANGE": 1405,
	"APPARMOR": 1500, "APPARMOR_AUDIT": 1501, "APPARMOR_ALLOWED": 1502, "APPARMOR_DENIED": 1503, "APPARMOR_STATUS": 1505,
	"ANOM_PROMISCUOUS": 1700, "ANOM_ABEND": 1701, "ANOM_LINK": 1702, "ANOM_CREAT": 1703,
	"INTEGRITY_DATA": 1800, "INTEGRITY_METADATA": 1801, "INTEGRITY_STATUS": 1802, "INTEGRITY_HASH": 1803, "INTEGRITY_PCR": 1804,
	"INTEGRITY_RULE": 1805, "INTEGRITY_POLICY_RULE": 1807, "KERNEL": 2000,
	"ANOM_LOGIN_FAILURES": 2100, "ANOM_LOGIN_TIME": 2101, "ANOM_LOGIN_SESSIONS": 2102, "ANOM_LOGIN_ACCT": 2103, "ANOM_LOGIN_LOCATION": 2104,
	"ANOM_MAX_DAC": 2105, "ANOM_EXEC": 2110, "ANOM_MK_EXEC": 2111, "ANOM_ACCESS_FS": 2112, "ANOM_ADD_ACCT": 2113, "ANOM_DEL_ACCT": 2114, "ANOM_MOD_ACCT": 2115,
	"CRYPTO_TEST_USER": 2400, "CRYPTO_PARAM_CHANGE_USER": 2401, "CRYPTO_LOGIN": 2402, "CRYPTO_LOGOUT": 2403, "CRYPTO_KEY_USER": 2404,
	"CRYPTO_FAILURE_USER": 2405, "CRYPTO_SESSION": 2407, "VIRT_CONTROL": 2500, "VIRT_RESOURCE": 2501, "VIRT_MACHINE_ID": 2502,
}
