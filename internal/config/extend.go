package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Extend returns the text of a configuration with entries behind its last target, each
// written as an element that is indented by two spaces, and the line that they stand
// behind. All that stood in it stays as it is, byte by byte, but for an empty list of
// targets in brackets. The text before must be well, the one that is returned is, and its
// first targets are those that it had.
func Extend(path string, data []byte, entries string) (text []byte, behind int, err error) {
	before, err := Parse(path, data)
	if err != nil {
		return nil, 0, err
	}
	lines := strings.SplitAfter(string(data), "\n")
	behind, indent, err := targetsEnd(data, lines)
	if err != nil {
		return nil, 0, fmt.Errorf("add to the targets of %s: %w", path, err)
	}
	var added strings.Builder
	for line := range strings.Lines(entries) {
		if rest, is := strings.CutPrefix(line, "  "); is {
			line = indent + rest
		}
		added.WriteString(line)
	}
	if last := lines[behind-1]; !strings.HasSuffix(last, "\n") {
		lines[behind-1] = last + "\n"
	}
	text = []byte(strings.Join(slices.Insert(lines, behind, added.String()), ""))
	after, err := Parse(path, text)
	if err != nil {
		return nil, 0, fmt.Errorf("the new targets do not go with what %s has: %w", path, err)
	}
	if n := len(before.Targets); len(after.Targets) <= n || n > 0 && !reflect.DeepEqual(before.Targets, after.Targets[:n]) {
		return nil, 0, fmt.Errorf("add to the targets of %s: the targets that it has would change", path)
	}
	return text, behind, nil
}

// targetsEnd returns the number of the line with the end of the last target, and how far
// targets are indented. It takes the brackets of an empty list away.
func targetsEnd(data []byte, lines []string) (end int, indent string, err error) {
	documents, err := parseYAML(data)
	if err != nil || len(documents) == 0 || len(documents[0].Content) == 0 {
		return 0, "", errors.New("it holds nothing")
	}
	root := documents[0].Content[0]
	first, next := 0, len(lines)+1
	var list *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key := root.Content[i]; {
		case key.Value == "targets":
			first, list = key.Line, root.Content[i+1]
		case first > 0 && key.Line < next:
			next = key.Line
		}
	}
	byHand := errors.New("its targets are not written as a list of lines that begin with \"- \"; write the new ones by hand")
	switch {
	case list == nil:
		return 0, "", errors.New("it has no key targets; write one")
	case list.Kind == yaml.SequenceNode && len(list.Content) == 0:
		line := lines[first-1]
		if !strings.Contains(line, "[]") {
			return 0, "", byHand
		}
		lines[first-1] = strings.TrimRight(strings.Replace(line, "[]", "", 1), " \n") + "\n"
		return first, "  ", nil
	case list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0:
		return 0, "", byHand
	}
	indent, _, is := strings.Cut(lines[list.Content[0].Line-1], "-")
	if !is || strings.Trim(indent, " ") != "" {
		return 0, "", byHand
	}
	for n := first; n < next && n <= len(lines); n++ {
		if text := strings.TrimSpace(lines[n-1]); text != "" && !strings.HasPrefix(text, "#") {
			end = n
		}
	}
	return end, indent, nil
}
