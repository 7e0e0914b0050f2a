package systemd

import (
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/paths"
)

// hidingProperties are those of a service that decide what it will see of this host's
// files (org.freedesktop.systemd1(5)). They are asked for where no process of it can be
// looked at, or has a root of its own, by which its paths are others.
const hidingProperties = "InaccessiblePaths TemporaryFileSystem BindPaths BindReadOnlyPaths PrivateTmp ProtectHome"

// hasRoot reports whether a service has another root than this host.
func hasRoot(properties map[string]any) bool {
	root := property[string](properties, "RootDirectory")
	return root != "" && root != "/" || property[string](properties, "RootImage") != ""
}

// hidden returns what a service will not see, or see again, as systemd.exec(5) has it.
func hidden(properties map[string]any) (all []deployers.Hidden) {
	hide := func(by string, paths ...string) {
		for _, path := range paths {
			all = append(all, deployers.Hidden{Path: path, By: by})
		}
	}
	image, root := property[string](properties, "RootImage"), property[string](properties, "RootDirectory")
	switch {
	case image != "":
		hide("RootImage="+image, "/")
	case hasRoot(properties):
		hide("RootDirectory="+root, "/")
		all = append(all, deployers.Hidden{Path: root})
	}
	for _, path := range property[[]string](properties, "InaccessiblePaths") {
		path = strings.TrimLeft(path, "-+")
		hide("InaccessiblePaths="+path, path)
	}
	for _, mount := range property[[][]any](properties, "TemporaryFileSystem") {
		if path, is := first(mount); is {
			hide("TemporaryFileSystem="+path, path)
		}
	}
	if property[bool](properties, "PrivateTmp") {
		hide("PrivateTmp=yes", "/tmp", "/var/tmp")
	}
	if home := property[string](properties, "ProtectHome"); home == "yes" || home == "tmpfs" {
		hide("ProtectHome="+home, "/home", "/root", "/run/user")
	}
	for _, key := range []string{"BindPaths", "BindReadOnlyPaths"} {
		for _, mount := range property[[][]any](properties, key) {
			source, is := first(mount)
			if !is || len(mount) < 2 {
				continue
			}
			switch at, _ := mount[1].(string); {
			case at == source:
				all = append(all, deployers.Hidden{Path: at})
			case !paths.Within(source, at):
				hide(key+"="+source+":"+at, at)
			}
		}
	}
	return all
}

func first(of []any) (text string, is bool) {
	if len(of) == 0 {
		return "", false
	}
	text, is = of[0].(string)
	return text, is
}
