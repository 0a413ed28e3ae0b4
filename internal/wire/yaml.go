package wire

import (
	"encoding/json"

	"sigs.k8s.io/yaml"
)

// yamlToken is what a token of YAML takes while it is parsed: events, nodes and
// interfaces.
const yamlToken = 256

// Parsing estimates the memory that parsing a YAML document takes, in bytes, from
// what it could hold. It is fast.
func Parsing(body []byte) int64 { return 8*int64(len(body)) + yamlToken*yamlTokens(body) }

// YAML measures a YAML document, of which JSON is one. What is no YAML is
// reported as malformed.
func YAML(body []byte, sizes Sizes, limits Limits) (Cost, error) {
	// Parsing costs memory itself, so what it will take is bounded first.
	m := meter{limits: limits}
	if err := m.add(Parsing(body)); err != nil {
		return m.cost, err
	}
	parsing := m.cost.Bytes
	document := body
	if !json.Valid(body) {
		var err error
		if document, err = yaml.YAMLToJSON(body); err != nil {
			return m.cost, malformed("the body is not valid YAML: %v", err)
		}
	}
	cost, err := JSON(document, sizes, limits)
	cost.Bytes = max(cost.Bytes, parsing)
	return cost, err
}

// yamlTokens is at least the number of scalars and collections.
func yamlTokens(body []byte) (n int64) {
	for _, b := range body {
		switch b {
		case ',', ':', '\n', '\r', '-', '{', '[', '?', '*':
			n++
		}
	}
	return n
}
