package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/command"
)

// passwdEntry is what is used of a user's line in passwd(5).
type passwdEntry struct {
	name     string
	uid, gid int
	remote   bool // not in /etc/passwd
}

// lookUp returns the user with a name or number.
func lookUp(name string) (passwdEntry, error) {
	find := user.Lookup
	if _, ok := parseID(name); ok {
		find = user.LookupId
	}
	if u, err := find(name); err == nil {
		return parseEntry(name, u.Username, u.Uid, u.Gid)
	} else if !isUnknown(err) {
		return passwdEntry{}, fmt.Errorf("look up user %s: %w", name, err)
	}
	line, err := getent("passwd", name)
	if err != nil {
		return passwdEntry{}, err
	}
	fields := strings.Split(line, ":") // name, password, uid, gid, ...
	if len(fields) < 4 {
		return passwdEntry{}, &UnknownError{"user", name}
	}
	e, err := parseEntry(name, fields[0], fields[2], fields[3])
	e.remote = true
	return e, err
}

func parseEntry(asked, name, uid, gid string) (passwdEntry, error) {
	e := passwdEntry{name: name}
	var okUID, okGID bool
	e.uid, okUID = parseID(uid)
	e.gid, okGID = parseID(gid)
	if !okUID || !okGID {
		return passwdEntry{}, fmt.Errorf("look up user %s: uid %q and gid %q are not both numbers", asked, uid, gid)
	}
	return e, nil
}

// UserName returns the name of a user of /etc/passwd; for others the number.
func UserName(uid int) string {
	number := strconv.Itoa(uid)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

// GroupName returns the name of a group of /etc/group; for others the number.
func GroupName(gid int) string {
	number := strconv.Itoa(gid)
	if g, err := user.LookupGroupId(number); err == nil {
		return g.Name
	}
	return number
}

// OwnerName returns the names of a file's owner, as chown(1) takes them.
func OwnerName(uid, gid int) string { return UserName(uid) + ":" + GroupName(gid) }

// lookUpGroup returns the ID of the group with a name, and reports whether it is
// not in /etc/group.
func lookUpGroup(name string) (gid int, remote bool, err error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		gid, err = strconv.Atoi(g.Gid)
		return gid, false, err
	}
	if !isUnknown(err) {
		return 0, false, fmt.Errorf("look up group %s: %w", name, err)
	}
	line, err := getent("group", name)
	if err != nil {
		return 0, false, err
	}
	fields := strings.Split(line, ":") // name, password, gid, members
	if len(fields) < 3 {
		return 0, false, &UnknownError{"group", name}
	}
	gid, err = strconv.Atoi(fields[2])
	return gid, true, err
}

// groups returns the groups that initgroups(3) sets: gid, and those that
// list the user.
func (e passwdEntry) groups(gid int) ([]int, error) {
	find := (&user.User{Username: e.name, Gid: strconv.Itoa(gid)}).GroupIds
	if e.remote {
		find = func() ([]string, error) {
			line, err := getent("initgroups", e.name) // the line is the name, and then group IDs
			return strings.Fields(line), err
		}
	}
	ids, err := find()
	if err != nil {
		return nil, fmt.Errorf("look up the groups of %s: %w", e.name, err)
	}
	groups := []int{gid}
	for _, text := range ids {
		if id, ok := parseID(text); ok {
			groups = append(groups, id)
		}
	}
	return groups, nil
}

// getent returns the line with a key in a database of the name service switch,
// or "". Only the C library knows, and getent is its program to ask with.
func getent(database, key string) (string, error) {
	const (
		limit    = 5 * time.Second
		notFound = 2 // getent(1), EXIT STATUS
	)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	output, err := command.Run(ctx, []string{"getent", "--", database, key})
	if exit, ok := errors.AsType[*command.ExitError](err); ok && exit.Code == notFound {
		return "", nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // no getent, and so nothing beyond the files
	}
	if err != nil {
		return "", fmt.Errorf("look up %s in %s: %w", key, database, err)
	}
	line, _, _ := strings.Cut(output.Stdout, "\n")
	return line, nil
}

// isUnknown reports whether an error of package user means that there is no
// such user or group, and not that it could not be looked up.
func isUnknown(err error) bool {
	_, name := errors.AsType[user.UnknownUserError](err)
	_, id := errors.AsType[user.UnknownUserIdError](err)
	_, group := errors.AsType[user.UnknownGroupError](err)
	return name || id || group
}

// parseID parses a uid or gid: 32 bits, of which the last value means none
// (chown(2)).
func parseID(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}
