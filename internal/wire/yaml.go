// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

const (
	// yamlToken is the memory of a YAML token while it is parsed: events, nodes and
	// interfaces.
	yamlToken = 256
	// maxParsing is the maximum memory for parsing. Text in a YAML document looks like
	// tokens, so it is larger than the limit of a decoded body.
	maxParsing = 256 << 20
)

// Parsing estimates the memory for parsing a YAML document, in bytes, from the number of
// its possible tokens.
func Parsing(body []byte) (int64, error) {
	tokens := yamlTokens
	if json.Valid(body) { // as the documents that kubectl and client-go apply always are
		tokens = jsonTokens
	}
	estimate := 8*int64(len(body)) + yamlToken*tokens(body)
	if estimate > maxParsing {
		return estimate, &Error{TooLarge: true, text: fmt.Sprintf("the body would take more than %d bytes of memory when it is parsed as YAML: it has too many elements", maxParsing)}
	}
	return estimate, nil
}

// YAML measures a YAML document, including JSON. It reports other documents as malformed.
// It has to parse the document: see [Parsing].
func YAML(body []byte, sizes Sizes, limits Limits) (Cost, error) {
	if json.Valid(body) {
		return JSON(body, sizes, limits)
	}
	if _, err := Parsing(body); err != nil {
		return Cost{}, err
	}
	document, err := yaml.YAMLToJSON(body)
	if err != nil {
		return Cost{}, malformed("the body is not valid YAML: %v", err)
	}
	return JSON(document, sizes, limits)
}

// yamlTokens returns at least the number of scalars and collections.
func yamlTokens(body []byte) (n int64) {
	for _, b := range body {
		switch b {
		case ',', ':', '\n', '\r', '-', '{', '[', '?', '*':
			n++
		}
	}
	return n
}

func jsonTokens(body []byte) (n int64) {
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = endOfString(body, i)
		case ',', ':', '{', '[':
			n++
		}
	}
	return n
}
