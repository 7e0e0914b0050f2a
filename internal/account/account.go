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

// Owner returns the user and group IDs for a file's owner. Each name may be a
// number. An empty user is the one that certlatch runs as. An empty group is
// the primary group of the user, and NAME: is that of the user NAME.
//
// It fails with an *UnknownError.
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
// with an *UnknownError.
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
// that certlatch runs as, with the groups of this process. It fails with an
// *UnknownError.
func CredentialOf(a deployers.Account) (Credential, error) {
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
	for _, name := range a.SupplementaryGroups {
		other, err := groupID(name)
		if err != nil {
			return Credential{}, err
		}
		groups = append(groups, other)
	}
	return credential(who.name, who.uid, gid, groups), nil
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
	return who.uid, err
}

// groupID returns the ID of a group by name or number. USER: is the primary
// group of a user, and ":" that of this process.
func groupID(name string) (int, error) {
	if name == ":" {
		return os.Getegid(), nil
	}
	if user, ok := strings.CutSuffix(name, ":"); ok {
		who, err := lookUp(user)
		return who.gid, err
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	return lookUpGroup(name)
}
