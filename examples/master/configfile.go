// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// readConfigFile sets the flags of a YAML file that the command line does not set. One
// error has all problems, with their lines.
//
//	data-dir: /var/lib/master
//	scheduler: true
//	hosts: [master.example.com, 192.0.2.1]
func readConfigFile(path string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return usagef("--config: %w", err)
	}
	pairs, err := mapping(data)
	if err != nil {
		return usagef("--config: %s: %w", path, err)
	}
	var errs []error
	seen := map[string]int{}
	for ; len(pairs) > 1; pairs = pairs[2:] {
		key, content := pairs[0], pairs[1]
		if first := seen[key.Value]; first > 0 {
			errs = append(errs, fmt.Errorf("--config: %s:%d: %s is in line %d already", path, key.Line, key.Value, first))
			continue
		}
		seen[key.Value] = key.Line
		if err := setFrom(flags, key.Value, content); err != nil {
			errs = append(errs, fmt.Errorf("--config: %s:%d: %w", path, key.Line, err))
		}
	}
	if len(errs) > 0 {
		return usageError{errors.Join(errs...)}
	}
	return nil
}

// mapping returns the alternating keys and values of the document.
func mapping(data []byte) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // an empty file
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("must be one YAML document")
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil // only comments
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a mapping of flag names without dashes to values, like data-dir: /var/lib/master", root.Line)
	}
	return root.Content, nil
}

// setFrom sets one flag, unless the command line has set it. An invalid value is an error
// in both cases.
func setFrom(flags *pflag.FlagSet, name string, content *yaml.Node) error {
	flag := flags.Lookup(name)
	switch {
	case flag == nil:
		return fmt.Errorf("unknown name %q%s", name, didYouMean(flags, name, ""))
	case name == "config", name == "help", name == "version":
		return fmt.Errorf("%s: only allowed on the command line", name)
	}
	values, err := scalars(content, flag.Value.Type() == "list")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	target := flag.Value
	if flag.Changed {
		target = new(options).flagSet().Lookup(name).Value // only to check the value
	}
	for _, v := range values {
		if err := target.Set(v); err != nil {
			return fmt.Errorf("%s: %q: %w", name, v, err)
		}
	}
	return nil
}

// scalars returns the value, or the values of a list.
func scalars(node *yaml.Node, isList bool) ([]string, error) {
	switch {
	case node.Kind == yaml.AliasNode:
		return scalars(node.Alias, isList)
	case node.Kind == yaml.SequenceNode && isList:
		var all []string
		for _, element := range node.Content {
			values, err := scalars(element, false)
			if err != nil {
				return nil, err
			}
			all = append(all, values...)
		}
		return all, nil
	case node.Kind != yaml.ScalarNode:
		return nil, errors.New("must be one value, or a list for flags like hosts")
	case node.Tag == "!!null":
		return nil, errors.New("the value is missing")
	}
	return []string{node.Value}, nil
}
