package evtx

import "encoding/binary"

// Sizes and offsets of the file format, in bytes.
const (
	fileHeaderSize  = 4096  // the file header with its padding
	chunkSize       = 65536 // every chunk
	chunkHeaderSize = 512   // a chunk's header with its string and template tables
	recordHeader    = 24    // signature, size, record id, time written
	minRecord       = recordHeader + 4

	stringBuckets   = 64
	templateBuckets = 32
	stringTable     = 128 // offset of the string table in a chunk
	templateTable   = 384 // offset of the template table in a chunk
)

// Flags of the file header and of the chunk header.
const (
	flagDirty      = 1 // the log was not closed
	flagFull       = 2 // the log is full
	flagNoChecksum = 4 // checksums are not kept (version 3.2)
)

const (
	fileMagic   = "ElfFile\x00"
	chunkMagic  = "ElfChnk\x00"
	recordMagic = "**\x00\x00"
)

// BinXML tokens, [MS-EVEN6] 2.2.12. tokenMore marks an element with attributes,
// an attribute that is not the last, or character data that goes on.
const (
	tokenEOF          = 0x00
	tokenOpen         = 0x01
	tokenCloseStart   = 0x02
	tokenCloseEmpty   = 0x03
	tokenEnd          = 0x04
	tokenValue        = 0x05
	tokenAttribute    = 0x06
	tokenCDATA        = 0x07
	tokenCharRef      = 0x08
	tokenEntityRef    = 0x09
	tokenPITarget     = 0x0a
	tokenPIData       = 0x0b
	tokenTemplate     = 0x0c
	tokenSubstitution = 0x0d
	tokenOptional     = 0x0e
	tokenFragment     = 0x0f
	tokenMore         = 0x40
)

// BinXML value types, [MS-EVEN6] 2.2.12. typeArray is added for arrays.
const (
	typeNull       = 0x00
	typeString     = 0x01
	typeAnsi       = 0x02
	typeInt8       = 0x03
	typeUint8      = 0x04
	typeInt16      = 0x05
	typeUint16     = 0x06
	typeInt32      = 0x07
	typeUint32     = 0x08
	typeInt64      = 0x09
	typeUint64     = 0x0a
	typeReal32     = 0x0b
	typeReal64     = 0x0c
	typeBool       = 0x0d
	typeBinary     = 0x0e
	typeGUID       = 0x0f
	typeSize       = 0x10
	typeFileTime   = 0x11
	typeSystemTime = 0x12
	typeSID        = 0x13
	typeHex32      = 0x14
	typeHex64      = 0x15
	typeEvtHandle  = 0x20
	typeBinXML     = 0x21
	typeEvtXML     = 0x23
	typeArray      = 0x80
)

func u16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// nameHash is the hash that chunks store with every name: the low 16 bits of
// h = h*65599 + c over the UTF-16 code units.
func nameHash(le []byte) uint16 {
	var h uint32
	for i := 0; i+1 < len(le); i += 2 {
		h = h*65599 + uint32(le[i]) + uint32(le[i+1])<<8
	}
	return uint16(h)
}
