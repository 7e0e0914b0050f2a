// Package account turns the names of users and groups into numbers: who owns
// an installed file, and what a service's processes run under.
//
// It looks into /etc/passwd and /etc/group and, for who is not there, asks the
// name service switch, which knows LDAP and systemd's dynamic users. It does
// not promise to find a dynamic user whose unit is not running (there is none
// then), nor the memberships that LDAP adds to a user of /etc/passwd.
package account

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/disk"
)

// Credential is what a process runs under.
type Credential = command.Credential

// UnknownError says that this host has no user or group of a name.
type UnknownError struct {
	Kind string // user or group
	Name string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s %q does not exist on this host; correct the name, or install the service that brings it", e.Kind, e.Name)
}

// TransientError says that a file would belong to a user or group that systemd has
// made up for a unit (DynamicUser=): another unit may get the number next.
type TransientError struct {
	Kind string // user or group
	Name string
	ID   int
}

func (e *TransientError) Error() string {
	return fmt.Sprintf("%s %q exists only while its unit runs, and its number (%d) is then somebody else's, so no file may belong to it", e.Kind, e.Name, e.ID)
}

// What systemd makes up is numbered from the one to the other
// (https://systemd.io/UIDS-GIDS, "Special systemd UID ranges").
const (
	firstDynamic = 61184
	lastDynamic  = 65519
)

// IsDynamic reports whether an ID that the name service switch knows is one that
// systemd has made up.
func IsDynamic(id int) bool { return firstDynamic <= id && id <= lastDynamic }

// lasting returns the ID of a user or group that files may belong to. It fails with
// a *TransientError.
func lasting(kind, name string, id int, remote bool) (int, error) {
	if remote && IsDynamic(id) {
		return 0, &TransientError{kind, name, id}
	}
	return id, nil
}

// IsTransient reports whether an ID is one that systemd makes up for units, and that
// this host gives to nobody.
func IsTransient(uid, gid int) bool {
	return IsDynamic(uid) && parsed(UserName(uid)) || IsDynamic(gid) && parsed(GroupName(gid))
}

func parsed(name string) bool {
	_, is := parseID(name)
	return is
}

// Dynamic reports which of a user and a group that a unit with DynamicUser= names
// systemd makes up: those that this host does not have otherwise.
func Dynamic(user, group string) (dynamicUser, dynamicGroup bool, err error) {
	if dynamicUser, err = isMadeUp(userID(user)); err == nil && group != "" {
		dynamicGroup, err = isMadeUp(groupID(group))
	}
	return dynamicUser, dynamicGroup, err
}

func isMadeUp(_ int, err error) (bool, error) {
	_, unknown := errors.AsType[*UnknownError](err)
	_, transient := errors.AsType[*TransientError](err)
	if unknown || transient {
		return true, nil
	}
	return false, err
}

// Owner returns the user and group IDs for a file's owner. Each name may be a
// number. An empty user is the one that certlatch runs as. An empty group is
// the primary group of the user, and NAME: is that of the user NAME.
//
// It fails with an *UnknownError, or a *TransientError.
func Owner(user, group string) (uid, gid int, err error) {
	if uid, err = userID(user); err != nil {
		return 0, 0, err
	}
	if group == "" {
		group = user + ":"
	}
	if gid, err = groupID(group); err != nil {
		return 0, 0, err
	}
	return uid, gid, nil
}

// Grants returns the entries of an ACL for the readers; nil for nil. It fails
// with an *UnknownError, or a *TransientError.
func Grants(readers []deployers.Reader) ([]disk.Grant, error) {
	if readers == nil {
		return nil, nil
	}
	grants := []disk.Grant{}
	for _, r := range readers {
		find := userID
		if r.Kind == "group" {
			find = groupID
		}
		id, err := find(r.Name)
		if err != nil {
			return nil, err
		}
		grants = append(grants, disk.Grant{Group: r.Kind == "group", ID: id})
	}
	return grants, nil
}

// CredentialOf returns the credential that systemd runs an account's processes
// under: the user's primary group or the one that Group names, and as
// supplementary groups those that list the user, that group, and
// SupplementaryGroups (systemd 257 src/core/exec-invoke.c,
// get_supplementary_groups).
//
// An empty user is root; where certlatch does not run as root, it is the user
// that certlatch runs as, with the groups of this process. A dynamic user has what
// its main process has, and as long as none runs an ID that owns nothing. It fails
// with an *UnknownError.
func CredentialOf(a deployers.Account) (Credential, error) {
	switch {
	case a.Runs.Known:
		return Credential{User: cmp.Or(a.User, UserName(int(a.Runs.UID))), UID: a.Runs.UID, GID: a.Runs.GID, Groups: a.Runs.Groups}, nil
	case a.Dynamic:
		return madeUp(a)
	}
	if a.User == "" && os.Geteuid() != 0 {
		return ownCredential()
	}
	who, err := lookUp(cmp.Or(a.User, "root"))
	if err != nil {
		return Credential{}, err
	}
	gid := who.gid
	if a.Group != "" {
		if gid, err = groupID(a.Group); err != nil {
			return Credential{}, err
		}
	}
	var groups []int
	if a.User != "" && gid != 0 {
		if groups, err = who.groups(gid); err != nil {
			return Credential{}, err
		}
	}
	more, err := groupIDs(a.SupplementaryGroups)
	return credential(who.name, who.uid, gid, append(groups, more...)), err
}

// madeUp returns the credential of a dynamic user that there is not yet.
func madeUp(a deployers.Account) (Credential, error) {
	gid := lastDynamic
	var err error
	if a.Group != "" {
		if gid, err = groupID(a.Group); err != nil {
			return Credential{}, err
		}
	}
	groups, err := groupIDs(a.SupplementaryGroups)
	return credential(a.User, lastDynamic, gid, append(groups, gid)), err
}

// groupIDs returns the IDs of groups.
func groupIDs(names []string) (ids []int, err error) {
	for _, name := range names {
		id, err := groupID(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// ownCredential returns the credential of this process.
func ownCredential() (Credential, error) {
	groups, err := os.Getgroups()
	if err != nil {
		return Credential{}, fmt.Errorf("read the groups of this process: %w", err)
	}
	return credential(fmt.Sprintf("uid %d", os.Geteuid()), os.Geteuid(), os.Getegid(), groups), nil
}

func credential(name string, uid, gid int, groups []int) Credential {
	slices.Sort(groups)
	c := Credential{User: name, UID: uint32(uid), GID: uint32(gid)}
	for _, group := range slices.Compact(groups) {
		c.Groups = append(c.Groups, uint32(group))
	}
	return c
}

// userID returns the ID of a user by name or number; for "" that of this
// process.
func userID(name string) (int, error) {
	if name == "" {
		return os.Geteuid(), nil
	}
	if uid, ok := parseID(name); ok {
		return uid, nil
	}
	who, err := lookUp(name)
	if err != nil {
		return 0, err
	}
	return lasting("user", name, who.uid, who.remote)
}

// groupID returns the ID of a group by name or number. USER: is the primary
// group of a user, and ":" that of this process.
func groupID(name string) (int, error) {
	if name == ":" {
		return os.Getegid(), nil
	}
	if user, ok := strings.CutSuffix(name, ":"); ok {
		who, err := lookUp(user)
		if err != nil {
			return 0, err
		}
		return lasting("group", user, who.gid, who.remote)
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	gid, remote, err := lookUpGroup(name)
	if err != nil {
		return 0, err
	}
	return lasting("group", name, gid, remote)
}
