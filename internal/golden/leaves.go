// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"fmt"
	"slices"
	"strings"
)

// Leaves returns a line for each leaf of decoded JSON, with its path. It omits the order
// of lists, and replaces file paths and ports, which vary.
func Leaves(tree any) []string {
	lines := flatten("", tree, nil)
	slices.Sort(lines)
	return lines
}

func flatten(path string, value any, lines []string) []string {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			lines = flatten(path+"."+key, v, lines)
		}
	case []any:
		for _, v := range value {
			lines = flatten(path+"[]", v, lines)
		}
	default:
		text := fmt.Sprint(value)
		if strings.HasPrefix(text, "/") {
			text = "FILE"
		}
		if strings.HasSuffix(path, ".Port") {
			text = "PORT"
		}
		lines = append(lines, strings.TrimPrefix(path, ".")+" "+text)
	}
	return lines
}
