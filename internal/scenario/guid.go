package scenario

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// startKey is the process start key of Windows: the boot's number and the
// process's number in that boot. Security 4697, 4698 and 4702 record it as
// ClientProcessStartKey.
func startKey(bootID uint16, sequence uint64) uint64 {
	return uint64(bootID)<<48 | sequence&(1<<48-1)
}

// processGUID is Sysmon's ProcessGuid: machine, second of the start, start key,
// the key in little-endian byte order.
func processGUID(machine uint32, start time.Time, key uint64) string {
	second := uint32(start.Unix())
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], key)
	return fmt.Sprintf("{%08x-%04x-%04x-%x-%x}", machine, uint16(second), uint16(second>>16), b[:2], b[2:])
}

// logonGUID is Sysmon's LogonGuid: machine, second of the logon, the logon id in
// little-endian byte order.
func logonGUID(machine uint32, start time.Time, luid uint64) string {
	return processGUID(machine, start, luid)
}

// digest returns bytes that depend on nothing but the given words.
func digest(words ...string) [32]byte {
	return sha256.Sum256([]byte(strings.Join(words, "\x00")))
}

// madeGUID is a GUID that depends on nothing but the given words.
func madeGUID(words ...string) string {
	d := digest(words...)
	return fmt.Sprintf("{%x-%x-%x-%x-%x}", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

// hashes are the four that Sysmon writes, in upper-case hexadecimal.
type hashes struct{ md5, sha1, sha256, imphash string }

// hashesOf makes hashes for a content that exists only as words.
func hashesOf(words ...string) hashes {
	name := strings.Join(words, "\x00")
	seed := []byte("content\x00" + name)
	m, s1, s2 := md5.Sum(seed), sha1.Sum(seed), sha256.Sum256(seed)
	imp := digest("imports", name)
	up := func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
	return hashes{up(m[:]), up(s1[:]), up(s2[:]), up(imp[:16])}
}

func (h hashes) String() string {
	return "SHA1=" + h.sha1 + ",MD5=" + h.md5 + ",SHA256=" + h.sha256 + ",IMPHASH=" + h.imphash
}
