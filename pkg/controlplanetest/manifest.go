// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// manifest is one object read from a file or from bytes.
type manifest struct {
	source   string // the file, or the field with its index
	document int    // its number in source, from 1
	only     bool   // the only document of source
	item     int    // its number in a List, from 1, or 0
	gvk      schema.GroupVersionKind
	name     string
	json     []byte
}

// String names the manifest in messages.
func (m manifest) String() string {
	var b strings.Builder
	b.WriteString(m.source)
	if !m.only {
		fmt.Fprintf(&b, ", document %d", m.document)
	}
	if m.item > 0 {
		fmt.Fprintf(&b, ", item %d", m.item)
	}
	fmt.Fprintf(&b, " (%s %q)", m.gvk.Kind, m.name)
	return b.String()
}

// into decodes the manifest. An error names the manifest and the field.
func (m manifest) into(object any) error {
	if err := json.Unmarshal(m.json, object); err != nil {
		if field := (*json.UnmarshalTypeError)(nil); errors.As(err, &field) {
			return fmt.Errorf("%v: %s must be of type %s, not %s", m, field.Field, field.Type, field.Value)
		}
		return fmt.Errorf("%v: %w", m, err)
	}
	return nil
}

// parse returns the objects in YAML or JSON, and all problems. Documents that are no
// Kubernetes objects, like the values of a chart, are left out.
func parse(source string, data []byte) ([]manifest, error) {
	documents := split(data)
	var found []manifest
	var errs []error
	for i, document := range documents {
		m := manifest{source: source, document: i + 1, only: len(documents) == 1}
		objects, err := document.objects()
		if err != nil {
			if m.only {
				errs = append(errs, fmt.Errorf("%s: %w", source, err))
			} else {
				errs = append(errs, fmt.Errorf("%s, document %d: %w", source, i+1, err))
			}
			continue
		}
		for _, object := range objects {
			found = append(found, m.expand(object)...)
		}
	}
	return found, errors.Join(errs...)
}

// expand returns the manifest of an object, or one for each item of a List.
func (m manifest) expand(object []byte) []manifest {
	var header struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	// A document that is no object, or has other types in these fields, has no kind.
	if json.Unmarshal(object, &header) != nil || header.Kind == "" {
		return nil
	}
	if strings.HasSuffix(header.Kind, "List") {
		var list struct {
			Items []json.RawMessage `json:"items"`
		}
		if json.Unmarshal(object, &list) == nil && list.Items != nil {
			var found []manifest
			for i, item := range list.Items {
				m.item = i + 1
				found = append(found, m.expand(item)...)
			}
			return found
		}
	}
	m.gvk = schema.FromAPIVersionAndKind(header.APIVersion, header.Kind)
	m.name = header.Metadata.Name
	m.json = object
	return []manifest{m}
}

// document is the text between two lines of "---".
type document struct {
	data []byte
	line int // number of lines before it
}

// split returns the documents of a YAML file. A JSON file is one document.
func split(data []byte) []document {
	var found []document
	var current document
	add := func(end int, start int) {
		current.data = data[start:end]
		if !blank(current.data) {
			found = append(found, current)
		}
	}
	start, line := 0, 0
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if rest, ok := bytes.CutPrefix(data[at:end], []byte("---")); ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			add(at, start)
			start = at + len("---")
			current.line = line
		}
		at = end
	}
	add(len(data), start)
	return found
}

// blank reports whether data has only comments and directives.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// objects returns the document as JSON: one object for YAML, one or more for JSON.
func (d document) objects() ([][]byte, error) {
	if bytes.HasPrefix(bytes.TrimSpace(d.data), []byte("{")) {
		if objects, err := jsonObjects(d.data); err == nil {
			return objects, nil
		}
		// It may be YAML flow style.
	}
	object, err := yaml.YAMLToJSON(d.data)
	if err == nil {
		return [][]byte{object}, nil
	}
	// Again with the lines before it, so that the message has the file's line number.
	_, err = yaml.YAMLToJSON(append(bytes.Repeat([]byte("\n"), d.line), d.data...))
	return nil, err
}

func jsonObjects(data []byte) ([][]byte, error) {
	var objects [][]byte
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var object json.RawMessage
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}
