package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/spelling"
)

// maxValues bounds how many keys and values are looked at, which aliases may
// multiply beyond what the file's size bounds. A target takes some 40.
const maxValues = 50_000

// maxText bounds one text, in bytes: no path that Linux knows is longer
// (PATH_MAX, limits.h).
const maxText = 4096

// decoder walks a tree of YAML nodes into a struct with yaml tags. It knows
// blocks (structs), lists (slices), texts (strings and
// encoding.TextUnmarshaler), yes or no (bool), and pointers to them, which
// tell what was written from what was not. An empty text is the same as a key
// left out; an empty list is nil.
type decoder struct {
	*report
	values int
}

// extensible is implemented by blocks that have keys beside those of their
// fields.
type extensible interface {
	extraKeys() []string
	extra(key string) any // a pointer to decode the key's value into
}

// decode fills in a struct from the root node, and reports whether the file is
// small enough for all of it to be read.
func (r *report) decode(root *yaml.Node, into any) bool {
	r.lines = map[string]int{}
	d := decoder{report: r}
	d.value("", root.Line, root, reflect.ValueOf(into).Elem())
	if d.values < maxValues {
		return true
	}
	r.problems = []Problem{{
		What:   fmt.Sprintf("the file holds %d keys and values or more, each use of an alias counted", maxValues),
		Remedy: "use fewer aliases",
	}}
	return false
}

// countValue counts a key or value, and reports whether there were no more than
// maxValues.
func (d *decoder) countValue() bool {
	d.values++
	return d.values < maxValues
}

func (d *decoder) value(where string, line int, node *yaml.Node, into reflect.Value) {
	if !d.countValue() {
		return
	}
	d.lines[where] = line
	node = resolveAlias(node)
	switch node.Tag {
	case "!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
	case "!!null":
		d.problemAt(where, "no value is given", "write one, or leave it out")
		return
	default:
		d.problemAt(where, fmt.Sprintf("the tag %q means nothing here", node.Tag), "remove it")
		return
	}
	if leaf, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.leaf(where, node, leaf)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(where, line, node, into.Elem())
	case reflect.Struct:
		d.block(where, node, into)
	case reflect.Slice:
		d.list(where, node, into)
	case reflect.String:
		d.text(where, node, into.SetString)
	case reflect.Bool:
		if node.Kind != yaml.ScalarNode || node.Value != "true" && node.Value != "false" {
			d.problemAt(where, "yes or no (true, false) is wanted here, not "+kindOf(node), "write true or false")
			return
		}
		into.SetBool(node.Value == "true")
	default:
		panic("config: nothing can be decoded into " + into.Type().String())
	}
}

func (d *decoder) block(where string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.problemAt(where, "a block of keys is wanted here, not "+kindOf(node), "write it as KEY: VALUE; the keys that this version of certlatch knows here are "+strings.Join(keysOf(into), ", "))
		return
	}
	first := map[string]int{}
	for i := 0; i < len(node.Content) && d.countValue(); i += 2 {
		line, key, value := node.Content[i].Line, resolveAlias(node.Content[i]), node.Content[i+1]
		at := join(where, key.Value)
		field, known := fieldOf(into, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			d.add(Problem{Line: line, Where: where, What: "a key must be a text, not " + kindOf(key), Remedy: "write it as KEY: VALUE"})
		case key.Tag == "!!merge":
			d.add(Problem{Line: line, Where: where, What: "merge keys (<<) are not supported", Remedy: "repeat the keys that are meant"})
		case first[key.Value] > 0:
			d.add(Problem{Line: line, Where: at, What: fmt.Sprintf("the key stands here twice, first in line %d", first[key.Value]), Remedy: "keep one of them"})
		case !known:
			d.add(Problem{Line: line, Where: at, What: "unknown key", Remedy: keyRemedy(key.Value, into)})
		case isEmpty(value):
			d.lines[at] = line
		default:
			d.value(at, line, value, field)
		}
		first[key.Value] = cmp.Or(first[key.Value], line)
	}
}

func (d *decoder) list(where string, node *yaml.Node, into reflect.Value) {
	items := node.Content
	switch {
	case node.Kind == yaml.SequenceNode:
	case node.Kind == yaml.ScalarNode && into.Type() == reflect.TypeFor[probes]():
		items = []*yaml.Node{node}
	default:
		d.problemAt(where, "a list is wanted here, not "+kindOf(node), listRemedy(node))
		return
	}
	into.SetZero()
	for i, item := range items {
		if d.values >= maxValues {
			return
		}
		element := reflect.New(into.Type().Elem()).Elem()
		d.value(fmt.Sprintf("%s[%d]", where, i), item.Line, item, element)
		into.Set(reflect.Append(into, element))
	}
}

// text calls set with the literal text of a value, whatever type YAML gives it.
func (d *decoder) text(where string, node *yaml.Node, set func(string)) {
	switch {
	case node.Kind != yaml.ScalarNode:
		d.problemAt(where, "a text is wanted here, not "+kindOf(node), "write one value behind the key")
	case len(node.Value) > maxText:
		d.problemAt(where, fmt.Sprintf("the text is longer than %d bytes", maxText), "shorten it")
	case strings.ContainsFunc(node.Value, unicode.IsControl):
		d.problemAt(where, "the text holds a line break or another control character", "write it on one line")
	default:
		set(node.Value)
	}
}

func (d *decoder) leaf(where string, node *yaml.Node, leaf encoding.TextUnmarshaler) {
	d.text(where, node, func(text string) {
		err := leaf.UnmarshalText([]byte(text))
		if err == nil {
			return
		}
		wrong, ok := errors.AsType[*complaint](err)
		if !ok {
			wrong = complaintOf(err, "correct the value")
		}
		d.problemAt(where, wrong.what, wrong.remedy)
	})
}

// resolveAlias returns the node that an alias stands for, or the node itself. An
// alias cannot have an anchor, so there is only one to follow.
func resolveAlias(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// isEmpty reports whether a value is an empty text.
func isEmpty(node *yaml.Node) bool {
	node = resolveAlias(node)
	return node.Kind == yaml.ScalarNode && node.Tag == "!!str" && node.Value == ""
}

// kindOf returns a word for the kind of a node.
func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a block of keys"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("the text %.80q", node.Value)
	}
}

func listRemedy(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode || len(node.Value) > 200 {
		return `begin each entry with "- "`
	}
	return fmt.Sprintf("write it as [%s]", strings.Join(strings.Fields(node.Value), ", "))
}

var plainKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[\w.-]+$`) })

// join returns the name of a key in a block: targets[0].mode.
func join(where, key string) string {
	if len(key) > 80 || !plainKey().MatchString(key) {
		key = fmt.Sprintf("%.80q", key)
	}
	if where == "" {
		return key
	}
	return where + "." + key
}

// keysOf returns the keys that a block may have.
func keysOf(block reflect.Value) []string {
	var keys []string
	for field := range block.Fields() {
		if key := keyOf(field); key != "" {
			keys = append(keys, key)
		}
	}
	if more, ok := block.Addr().Interface().(extensible); ok {
		keys = append(keys, more.extraKeys()...)
	}
	return keys
}

// fieldOf returns what the value of a block's key is decoded into, and reports
// whether there is such a key.
func fieldOf(block reflect.Value, key string) (reflect.Value, bool) {
	for field, value := range block.Fields() {
		if key != "" && keyOf(field) == key {
			return value, true
		}
	}
	if more, ok := block.Addr().Interface().(extensible); ok && slices.Contains(more.extraKeys(), key) {
		return reflect.ValueOf(more.extra(key)).Elem(), true
	}
	return reflect.Value{}, false
}

func keyOf(field reflect.StructField) string {
	key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return key
}

// keyRemedy returns the remedy for an unknown key: the key that was probably
// meant, or all that there are.
func keyRemedy(key string, block reflect.Value) string {
	keys := keysOf(block)
	if other, is := hooks.OtherFor(key); is {
		return "that is " + other.Is
	}
	if near := spelling.Nearest(key, keys); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the keys that this version of certlatch knows here are " + strings.Join(keys, ", ")
}
