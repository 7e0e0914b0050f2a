package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// Tags of an rpm's header, and one of its signature (rpm 4.20 include/rpm/rpmtag.h).
const (
	tagName             = 1000
	tagVersion          = 1001
	tagRelease          = 1002
	tagSummary          = 1004
	tagDescription      = 1005
	tagBuildTime        = 1006
	tagBuildHost        = 1007
	tagSize             = 1009
	tagVendor           = 1011
	tagLicense          = 1014
	tagPackager         = 1015
	tagGroup            = 1016
	tagURL              = 1020
	tagArch             = 1022
	tagFileModes        = 1030
	tagSourceRPM        = 1044
	tagProvideName      = 1047
	tagRequireFlags     = 1048
	tagRequireName      = 1049
	tagRequireVersion   = 1050
	tagProvideFlags     = 1112
	tagProvideVersion   = 1113
	tagDirIndexes       = 1116
	tagBaseNames        = 1117
	tagDirNames         = 1118
	tagRecommendName    = 5046
	tagRecommendVersion = 5047
	tagRecommendFlags   = 5048

	sigPayloadSize = 1007
)

// rpmHeader is the header of an rpm package.
type rpmHeader struct {
	texts      map[uint32][]string
	numbers    map[uint32][]int64
	start, end int   // in the file
	archive    int64 // size of the payload, unpacked
}

// errNoRPM says that a file is none that nfpm makes.
var errNoRPM = errors.New("it is no rpm package")

// readRPM reads a package: a lead of 96 bytes, the signature's header, with zeros
// up to a multiple of 8, and the header (rpm's docs/manual/format_v4.md).
func readRPM(content []byte) (rpmHeader, error) {
	const lead = 96
	if len(content) < lead || !bytes.HasPrefix(content, []byte{0xed, 0xab, 0xee, 0xdb}) {
		return rpmHeader{}, errNoRPM
	}
	signature, err := readHeader(content, lead)
	if err != nil {
		return rpmHeader{}, err
	}
	header, err := readHeader(content, (signature.end+7)/8*8)
	header.archive = signature.number(sigPayloadSize)
	return header, err
}

// readHeader reads the header that begins at an offset: 16 bytes that say how many
// entries of 16 bytes and how many bytes of data follow.
func readHeader(content []byte, start int) (rpmHeader, error) {
	h := rpmHeader{texts: map[uint32][]string{}, numbers: map[uint32][]int64{}, start: start}
	if start > len(content)-16 || !bytes.HasPrefix(content[start:], []byte{0x8e, 0xad, 0xe8, 0x01}) {
		return h, errNoRPM
	}
	word := func(at int) uint32 { return binary.BigEndian.Uint32(content[at:]) }
	count, size := int(word(start+8)), int(word(start+12))
	entries := start + 16
	data := entries + 16*count
	h.end = data + size
	if h.end > len(content) {
		return h, errNoRPM
	}
	for at := entries; at < data; at += 16 {
		offset := int(word(at + 8))
		if offset > size {
			return h, errNoRPM
		}
		if !h.add(word(at), word(at+4), int(word(at+12)), content[data+offset:h.end]) {
			return h, errNoRPM
		}
	}
	return h, nil
}

// add adds an entry of a type with count values at the beginning of data, and
// reports whether they are there. Types that no tag of interest has are left out.
func (h rpmHeader) add(tag, kind uint32, count int, data []byte) bool {
	const int16s, int32s, text, texts, translated = 3, 4, 6, 8, 9
	switch kind {
	case int16s:
		if count > len(data)/2 {
			return false
		}
		for i := range count {
			h.numbers[tag] = append(h.numbers[tag], int64(binary.BigEndian.Uint16(data[2*i:])))
		}
	case int32s:
		if count > len(data)/4 {
			return false
		}
		for i := range count {
			h.numbers[tag] = append(h.numbers[tag], int64(binary.BigEndian.Uint32(data[4*i:])))
		}
	case text, texts, translated:
		for range count {
			value, rest, ok := bytes.Cut(data, []byte{0})
			if !ok {
				return false
			}
			h.texts[tag], data = append(h.texts[tag], string(value)), rest
		}
	}
	return true
}

// text returns the first text of a tag; "" without one.
func (h rpmHeader) text(tag uint32) string {
	if len(h.texts[tag]) == 0 {
		return ""
	}
	return h.texts[tag][0]
}

// number returns the first number of a tag; 0 without one.
func (h rpmHeader) number(tag uint32) int64 { return h.nth(tag, 0) }

// nth returns a number of a tag; 0 without it.
func (h rpmHeader) nth(tag uint32, i int) int64 {
	if i >= len(h.numbers[tag]) {
		return 0
	}
	return h.numbers[tag][i]
}

func (h rpmHeader) evr() evr { return evr{"0", h.text(tagVersion), h.text(tagRelease)} }

// files returns the files and directories of the package.
func (h rpmHeader) files() (all []rpmFile) {
	for i, base := range h.texts[tagBaseNames] {
		dir := int(h.nth(tagDirIndexes, i))
		if dir >= len(h.texts[tagDirNames]) {
			continue
		}
		file := rpmFile{Path: h.texts[tagDirNames][dir] + base}
		if h.nth(tagFileModes, i)&0o170000 == 0o040000 { // stat(2)
			file.Type = "dir"
		}
		all = append(all, file)
	}
	return all
}

// entries returns what a package provides, requires or recommends, without what is
// asked of rpm itself, which knows whether it can.
func (h rpmHeader) entries(names, flags, versions uint32) (all []entry) {
	const rpmlib = 1 << 24 // RPMSENSE_RPMLIB of rpm's include/rpm/rpmds.h
	for i, name := range h.texts[names] {
		flag := h.nth(flags, i)
		if flag&rpmlib != 0 || strings.HasPrefix(name, "rpmlib(") {
			continue
		}
		e := entry{Name: name, Flags: comparison(flag)}
		if versions := h.texts[versions]; e.Flags != "" && i < len(versions) {
			e.Epoch = "0"
			e.Version, e.Release, _ = strings.Cut(versions[i], "-")
			if epoch, version, ok := strings.Cut(e.Version, ":"); ok {
				e.Epoch, e.Version = epoch, version
			}
		}
		all = append(all, e)
	}
	return all
}

// comparison returns the name of a comparison: less is 2, greater 4, equal 8
// (RPMSENSE_LESS and so on of rpm's include/rpm/rpmds.h).
func comparison(flags int64) string {
	return map[int64]string{2: "LT", 4: "GT", 8: "EQ", 10: "LE", 12: "GE"}[flags&14]
}
