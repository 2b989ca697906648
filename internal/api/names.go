package api

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TimestampColumn is the designated timestamp: the first column of every table. The name is reserved.
const TimestampColumn = "timestamp"

// CheckTable says why name cannot be a table's name, or nil. A table is UTF-8 of 1 to NameBytesMax bytes without
// control characters, space, `/ * > \ "` and empty dot-separated tokens, because it travels in NATS subjects,
// URLs and file names.
func CheckTable(name string) error {
	if err := checkText("table", name); err != nil {
		return err
	}
	if i := strings.IndexAny(name, " /*>\\\""); i >= 0 {
		return fmt.Errorf("table name %q must not contain %q", name, name[i])
	}
	if name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, "..") {
		return fmt.Errorf("table name %q has an empty part between dots", name)
	}
	return nil
}

// CheckColumn says why name cannot be a tag's or field's name, or nil.
func CheckColumn(name string) error {
	if err := checkText("column", name); err != nil {
		return err
	}
	if name == TimestampColumn {
		return fmt.Errorf("column name %q is reserved for the designated timestamp", name)
	}
	return nil
}

func checkText(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s name is empty", what)
	case len(name) > NameBytesMax:
		return fmt.Errorf("%s name of %d bytes is longer than %d", what, len(name), NameBytesMax)
	case !utf8.ValidString(name):
		return fmt.Errorf("%s name %q is not UTF-8", what, name)
	}
	if i := strings.IndexFunc(name, unicode.IsControl); i >= 0 {
		return fmt.Errorf("%s name %q has a control character", what, name)
	}
	return nil
}

// CheckNode says why id cannot be a node's id, or nil: 1 to 63 of `a-z 0-9 - _`.
func CheckNode(id string) error {
	if n := len(id); n < 1 || n > 63 {
		return fmt.Errorf("node id %s must have 1 to 63 characters", Quote(id))
	}
	for _, c := range []byte(id) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("node id %q must be made of a-z 0-9 - _", id)
		}
	}
	return nil
}

// CheckProducer says why id cannot be a producer's id, or nil: 1 to 64 of `A-Z a-z 0-9 - _`.
func CheckProducer(id string) error {
	if n := len(id); n < 1 || n > 64 {
		return fmt.Errorf("producer id %s must have 1 to 64 characters", Quote(id))
	}
	for _, c := range []byte(id) {
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("producer id %q must be made of A-Z a-z 0-9 - _", id)
		}
	}
	return nil
}
