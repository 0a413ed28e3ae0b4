// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// Sides. The documentation of this command describes them.
const (
	own            = "kubembed"
	bare           = "kubembed without controllers"
	inProcess      = "kubembed in-process"
	tuned          = "kubembed, GOGC=400" // the setting of examples/master
	tunedInProcess = "kubembed in-process, GOGC=400"
	envtest        = "envtest"
	upstream       = "upstream's cluster"
	installed      = "envtest, CRDs installed before"
	inOne          = "testserver"
	separate       = "separate"
	rawEtcd        = "raw etcd"
	durableOwn     = "kubembed with DataDir"
	programs       = "envtest with kubembed's programs"
	pooled         = "kubembed from the pool"
	simulated      = "kubembed's nodes"
	kwok           = "kwok"
)

// section is one part of the bench.
type section struct {
	name, title string
	// about describes the work, and the conditions that both sides share.
	about string
	// sides take turns, in this order.
	sides []string
	// ratios are the pairs of sides that are compared.
	ratios [][2]string
	// byHand sections run only if -only names them.
	byHand bool
	// summary are the ends of the names of the figures on the project's page.
	summary []string
	measure func(*measurement) error
}

var sections = []section{
	startSection, restartSection, requestsSection, listSection, watchSection, heartbeatsSection,
	growthSection, durableSection, planesSection, crdsSection, testsSection,
	poolSection, editSection, packagesSection, effectsSection, scaleSection, coldSection,
}

func sectionNames() (names []string) {
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

func chooseSections(only, skip string) ([]section, error) {
	chosen := map[string]bool{}
	for _, list := range []struct {
		flag, text string
		choose     bool
	}{{"only", only, true}, {"skip", skip, false}} {
		if list.text == "" {
			continue
		}
		for name := range strings.SplitSeq(list.text, ",") {
			if !slices.Contains(sectionNames(), name) {
				return nil, fmt.Errorf("-%s: unknown section %q: want one of %s", list.flag, name, strings.Join(sectionNames(), ", "))
			}
			chosen[name] = list.choose
		}
	}
	var sorted []section
	for _, s := range sections {
		choose, named := chosen[s.name]
		if choose || !named && only == "" && !s.byHand {
			sorted = append(sorted, s)
		}
	}
	return sorted, nil
}

func findSection(name string) (section, bool) {
	i := slices.IndexFunc(sections, func(s section) bool { return s.name == name })
	if i < 0 {
		return section{}, false
	}
	return sections[i], true
}
