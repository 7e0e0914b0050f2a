package disk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attr is whom a file or directory belongs to, and who may use it.
//
// With an ACL among Extra, Mode means what the owner, the owning group and
// all others may do, as in ls -l without the ACL; it wins over what the ACL
// says of these three. The ACL adds exactly the rights that its entries for
// named users and groups give after its mask; the mask is made anew to let
// all of that through. So a file that is made with the Attr of another has
// the same rights, and one made with another Mode differs in those three
// alone, though stat(2) shows the mask as the group's bits.
type Attr struct {
	UID, GID int
	Mode     fs.FileMode       // permission bits only
	Extra    map[string][]byte // extended attributes: the ACL, the security label and user.*
}

// ACLName is the extended attribute that holds an ACL (acl(5)).
const ACLName = "system.posix_acl_access"

// Other extended attributes with a meaning of their own (acl(5), xattr(7)).
const (
	defaultName = "system.posix_acl_default"
	labelName   = "security.selinux"
)

// Own returns the attributes of a file or directory that belongs to the
// effective user.
func Own(mode fs.FileMode) Attr {
	return Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: mode}
}

// apply sets the attributes of a new file, mode 0600, or directory, mode
// 0700, that belongs to who runs this. Each step is allowed to the owner of a
// file with CAP_CHOWN alone, and no step lets anyone open it whom the whole
// does not let: the group comes before the mode that speaks of it, and what a
// default ACL of the directory gave to others is taken away first.
func (a Attr) apply(file *os.File) error {
	fail := func(op string, err error) error { return &fs.PathError{Op: op, Path: file.Name(), Err: err} }
	fd := int(file.Fd())
	if err := file.Chown(-1, a.GID); err != nil {
		return err
	}
	if err := removeACL(file, ACLName); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Extra)) {
		if name == ACLName {
			continue
		}
		// A label that cannot be set is no loss: the file already has the one
		// that the policy gives to files made in this directory.
		if err := unix.Fsetxattr(fd, name, a.Extra[name], 0); err != nil && name != labelName {
			return fail("set attribute "+name+" of", err)
		}
	}
	if err := file.Chmod(a.Mode.Perm()); err != nil {
		return err
	}
	if raw, ok := a.Extra[ACLName]; ok {
		list, err := parseACL(raw)
		if err != nil {
			return fail("set ACL of", err)
		}
		// It was on a file of the same directory, so it can be set here too.
		if err := unix.Fsetxattr(fd, ACLName, list.withMode(a.Mode).encode(), 0); err != nil {
			return fail("set ACL of", err)
		}
	}
	return file.Chown(a.UID, -1)
}

// removeACL takes away an ACL that a file or directory may have inherited.
func removeACL(file *os.File, name string) error {
	err := unix.Fremovexattr(int(file.Fd()), name)
	if err == nil || err == unix.ENODATA || err == unix.EOPNOTSUPP {
		return nil
	}
	return &fs.PathError{Op: "remove ACL of", Path: file.Name(), Err: err}
}

// attributesOf reads the attributes of an open file, of a path for messages.
func attributesOf(fd int, path string) (Attr, error) {
	fail := func(op string, err error) (Attr, error) {
		return Attr{}, &fs.PathError{Op: op, Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("stat", err)
	}
	attr := Attr{UID: int(st.Uid), GID: int(st.Gid), Mode: fs.FileMode(st.Mode & 0o777)}
	names, err := readAll(func(buffer []byte) (int, error) { return unix.Flistxattr(fd, buffer) })
	if err == unix.EOPNOTSUPP {
		return attr, nil
	}
	if err != nil {
		return fail("list attributes of", err)
	}
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name != ACLName && name != labelName && !strings.HasPrefix(name, "user.") {
			continue
		}
		value, err := readAll(func(buffer []byte) (int, error) { return unix.Fgetxattr(fd, name, buffer) })
		if err != nil {
			return fail("read attribute "+name+" of", err)
		}
		if attr.Extra == nil {
			attr.Extra = map[string][]byte{}
		}
		attr.Extra[name] = value
	}
	if raw, ok := attr.Extra[ACLName]; ok {
		list, err := parseACL(raw)
		if err != nil {
			return fail("read ACL of", err)
		}
		attr.Mode = list.mode()
	}
	return attr, nil
}

// readAll returns all of a list or value whose length the system call returns
// for an empty buffer.
func readAll(read func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := read(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		buffer := make([]byte, size)
		if size, err = read(buffer); err != unix.ERANGE { // ERANGE: it has grown meanwhile
			return buffer[:max(size, 0)], err
		}
	}
}

// Grant is a user or group that an ACL names.
type Grant struct {
	Group bool // else a user
	ID    int
}

// WithACL returns the attributes with an ACL that lets those named do what perm
// says (4: read, 1: pass a directory), and nobody else beside owner and group;
// with no ACL if nobody is named.
func (a Attr) WithACL(grants []Grant, perm uint16) Attr {
	a.Extra = maps.Clone(a.Extra)
	delete(a.Extra, ACLName)
	if raw := ACL(a.Mode, grants, perm); len(raw) > 0 {
		if a.Extra == nil {
			a.Extra = map[string][]byte{}
		}
		a.Extra[ACLName] = raw
	}
	return a
}

// ACL returns the extended attribute of a file with that mode whose ACL is as
// [Attr.WithACL] makes it; empty, and not nil, if nobody is named.
func ACL(mode fs.FileMode, grants []Grant, perm uint16) []byte {
	if len(grants) == 0 {
		return []byte{}
	}
	list := acl{{aclUserObj, 0, aclNobody}, {aclGroupObj, 0, aclNobody}, {aclMask, 7, aclNobody}, {aclOther, 0, aclNobody}}
	for _, g := range grants {
		tag := uint16(aclUser)
		if g.Group {
			tag = aclGroup
		}
		list = append(list, aclEntry{tag, perm, uint32(g.ID)})
	}
	slices.SortFunc(list, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.ID, b.ID)) })
	return slices.Compact(list).withMode(mode).encode()
}

// ACL returns the attribute as [ACL] does; empty where there is none.
func (a Attr) ACL() []byte { return append([]byte{}, a.Extra[ACLName]...) }

// acl is a POSIX access control list in the order in which the kernel wants
// its entries (include/uapi/linux/posix_acl_xattr.h).
type acl []aclEntry

type aclEntry struct {
	Tag, Perm uint16
	ID        uint32
}

// Tags of entries (include/uapi/linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclVersion = 2
	aclNobody  = ^uint32(0) // the ID of entries that name nobody (ACL_UNDEFINED_ID)
)

var errACL = errors.New("not an ACL of version 2")

func parseACL(raw []byte) (acl, error) {
	if len(raw) < 4 || binary.LittleEndian.Uint32(raw) != aclVersion || len(raw)%8 != 4 {
		return nil, errACL
	}
	list := make(acl, len(raw)/8)
	return list, binary.Read(bytes.NewReader(raw[4:]), binary.LittleEndian, list)
}

func (l acl) encode() []byte {
	raw := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range l {
		raw = binary.LittleEndian.AppendUint16(raw, e.Tag)
		raw = binary.LittleEndian.AppendUint16(raw, e.Perm)
		raw = binary.LittleEndian.AppendUint32(raw, e.ID)
	}
	return raw
}

// mask returns the union of the rights of named users, groups and the owning
// group.
func (l acl) mask() uint16 {
	for _, e := range l {
		if e.Tag == aclMask {
			return e.Perm
		}
	}
	return 7
}

// mode returns the rights of the owner, the owning group and all others.
func (l acl) mode() fs.FileMode {
	var mode uint16
	for _, e := range l {
		switch e.Tag {
		case aclUserObj:
			mode |= e.Perm << 6
		case aclGroupObj:
			mode |= (e.Perm & l.mask()) << 3
		case aclOther:
			mode |= e.Perm
		}
	}
	return fs.FileMode(mode)
}

// withMode returns a list with the mode's rights for the owner, the owning group
// and all others, and the same rights as l for those that it names.
func (l acl) withMode(mode fs.FileMode) acl {
	changed := slices.Clone(l)
	mask := uint16(mode>>3) & 7
	for i := range changed {
		switch e := &changed[i]; e.Tag {
		case aclUserObj:
			e.Perm = uint16(mode>>6) & 7
		case aclGroupObj:
			e.Perm = uint16(mode>>3) & 7
		case aclOther:
			e.Perm = uint16(mode) & 7
		case aclUser, aclGroup:
			e.Perm &= l.mask()
			mask |= e.Perm
		}
	}
	for i := range changed {
		if changed[i].Tag == aclMask {
			changed[i].Perm = mask
		}
	}
	return changed
}
