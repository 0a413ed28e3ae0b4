// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/logging"
)

// Hosts search logs by fields, so the pairs of klog.InfoS and ErrorS become fields again.
// klog could pass them as values through klog.SetLogger, but that variable has no lock:
// it may be set only before anything logs, and a control plane starts and stops while
// others log. Instead klog writes text under a lock, in a format that
// k8s.io/klog/v2/internal/serialize defines exactly:
//
//	"message" key="a Go string" key=<
//		several
//		lines
//	 > key={"of":"JSON"} key=1
//
// parsePairs accepts that format and nothing else. Other lines stay text, even if a part
// of them looks like pairs.

const (
	// mostPairs bounds the fields of a line. Upstream has ten at most.
	mostPairs = 64
	// longestKey bounds a key.
	longestKey = 128
)

// pairs are the parts of a structured line.
type pairs struct {
	message string
	logger  string // the logger that the line names, or empty
	cause   string // its error, or without one the text after the message
	fields  []zap.Field
}

// parsePairs reports false for text that is not a structured line from its first byte to
// its last.
func parsePairs(text string) (p pairs, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		return p, false
	}
	if p.message, text, ok = cutQuoted(text); !ok {
		return p, false
	}
	seen := map[string]bool{}
	p.cause = text
	for text != "" {
		var key string
		var field zap.Field
		if key, text, ok = cutKey(text); !ok || seen[key] || len(seen) == mostPairs {
			return pairs{}, false
		}
		seen[key] = true
		if field, text, ok = cutValue(key, text); !ok || text != "" && text[0] != ' ' {
			return pairs{}, false
		}
		switch {
		case key == "logger" && field.Type == zapcore.StringType:
			p.logger = field.String
			continue
		case key == "err":
			p.cause = field.String
		}
		p.fields = append(p.fields, field)
	}
	return p, true
}

// cutQuoted cuts a string of strconv.Quote off the front of text.
func cutQuoted(text string) (value, rest string, ok bool) {
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil || quoted[0] != '"' {
		return "", text, false
	}
	value, err = strconv.Unquote(quoted)
	return value, text[len(quoted):], err == nil
}

// cutKey cuts a space, a key and "=" off the front of text.
func cutKey(text string) (key, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, " ")
	if !ok {
		return "", text, false
	}
	key, rest, ok = strings.Cut(text, "=")
	if !ok || key == "" || len(key) > longestKey || strings.ContainsAny(key, " \t\r\n\"") || !utf8.ValidString(key) {
		return "", text, false
	}
	return key, rest, true
}

// cutValue cuts a value off the front of text.
func cutValue(key, text string) (field zap.Field, rest string, ok bool) {
	name := logging.Key(key)
	if key == "err" {
		name = "error" // as in our own lines
	}
	switch {
	case strings.HasPrefix(text, `"`):
		value, rest, ok := cutQuoted(text)
		return zap.String(name, value), rest, ok
	case strings.HasPrefix(text, "<\n"):
		value, rest, ok := cutLines(text[len("<\n"):])
		return zap.String(name, value), rest, ok
	default:
		return cutJSON(name, text)
	}
}

// cutLines cuts lines that begin with a tab, and their end, off the front of text.
func cutLines(text string) (value, rest string, ok bool) {
	var lines []string
	for strings.HasPrefix(text, "\t") {
		line, after, found := strings.Cut(text[1:], "\n")
		if !found {
			return "", text, false
		}
		lines, text = append(lines, line), after
	}
	rest, ok = strings.CutPrefix(text, " >")
	return strings.Join(lines, "\n"), rest, ok
}

// cutJSON cuts a JSON value off the front of text.
func cutJSON(name, text string) (field zap.Field, rest string, ok bool) {
	if text == "" || text[0] <= ' ' {
		return field, text, false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil && err != io.EOF || len(raw) == 0 {
		return field, text, false
	}
	rest = text[decoder.InputOffset():]
	switch raw[0] {
	case '{', '[':
		return zap.Any(name, json.RawMessage(bytes.Clone(raw))), rest, true
	case 't', 'f':
		return zap.Bool(name, raw[0] == 't'), rest, true
	case 'n':
		return zap.Any(name, nil), rest, true
	}
	if number, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return zap.Int64(name, number), rest, true
	}
	number, err := strconv.ParseFloat(string(raw), 64)
	return zap.Float64(name, number), rest, err == nil
}
