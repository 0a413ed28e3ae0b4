// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// checked is a component that validates itself.
type checked struct {
	part
	validate func() error
}

func (c *checked) Validate() error { return c.validate() }

// TestValidateAsksComponents: Config.Validate, and so Start, calls the components' own.
func TestValidateAsksComponents(t *testing.T) {
	several := field.ErrorList{
		field.Invalid(field.NewPath("Count"), -1, "must not be negative"),
		field.Required(field.NewPath("Nodes").Index(2).Child("Name"), "it has none"),
	}
	component := func(name string, validate func() error) *checked {
		return &checked{part{name: name, run: idle}, validate}
	}
	for _, c := range []struct {
		name      string
		component controlplane.Component
		want      []string
	}{
		{"fields", component("one", func() error { return fmt.Errorf("one: invalid Config: %w", several.ToAggregate()) }), []string{
			"Components[1] (one): Count: Invalid value: -1: must not be negative",
			"Components[1] (one): Nodes[2].Name: Required value: it has none",
		}},
		{"text", component("one", func() error { return errors.New("one: Config.Logger: it is a cat") }), []string{"Components[1] (one): Invalid value: Config.Logger: it is a cat"}},
		{"wrapped", controlplane.WithoutLeaderElection(component("one", func() error { return errors.New("no") })), []string{"Components[1] (one): Invalid value: no"}},
		{"mixed", component("one", func() error { return errors.Join(several[0], errors.New("and more")) }), []string{"Count: Invalid value: -1", "and more"}},
		{"panic", component("one", func() error { panic("no idea") }), []string{"Components[1] (one)", "Validate panics: no idea"}},
		{"valid", component("one", func() error { return nil }), nil},
		{"none", &part{name: "one", run: idle}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := parts(&part{name: "first", run: idle})
			cfg.Components = append(cfg.Components, c.component)
			err := cfg.Validate()
			if (err == nil) != (c.want == nil) || err != nil && lacks(err.Error(), c.want...) != "" {
				t.Fatalf("Validate: %v, want %q", err, c.want)
			}
			if c.want == nil {
				return
			}
			if _, started := controlplane.Start(t.Context(), cfg); started == nil || started.Error() != err.Error() {
				t.Errorf("Start: got %v, want what Validate returns: %v", started, err)
			}
			if strings.Count(err.Error(), "one: invalid Config") > 0 {
				t.Errorf("got %v, want the component named once", err)
			}
		})
	}
}
