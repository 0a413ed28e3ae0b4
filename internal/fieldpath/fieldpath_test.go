// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package fieldpath_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

var errTaken = errors.New("in use")

// planeNames are like a control plane's names for its etcd member.
var planeNames = fieldpath.Names{
	"Config.Dir":      "Config.DataDir",
	"Config.Cluster":  "Config.Etcd",
	"Config.Cluster.": "Config.Etcd.Name",
}

// coded is an error type with a text of its own.
type coded struct {
	code int
	err  error
}

func (c coded) Error() string { return fmt.Sprintf("code %d: %s", c.code, c.err) }
func (c coded) Unwrap() error { return c.err }

func dirError() error { return fieldpath.New("etcd", "Config.Dir", "%s: %w", "/data", errTaken) }

func TestRename(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		old, want string
	}{
		"a field":      {dirError(), "etcd: Config.Dir: /data: in use", "Config.DataDir: /data: in use"},
		"one below it": {fieldpath.New("etcd", "Config.Cluster.Join[1]", "missing"), "etcd: Config.Cluster.Join[1]: missing", "Config.Etcd.Join[1]: missing"},
		"another":      {fieldpath.New("etcd", "Config.Directory", "missing"), "etcd: Config.Directory: missing", "Config.Directory: missing"},
		"a mention": {
			fieldpath.New("etcd", "Config.Dir", "not of a cluster: set %s", fieldpath.Name("Config.Cluster.Name")),
			"etcd: Config.Dir: not of a cluster: set Config.Cluster.Name", "Config.DataDir: not of a cluster: set Config.Etcd.Name",
		},
		"a mention of a struct": {
			fieldpath.New("etcd", "Config.Dir", "see %s", fieldpath.Name("Config.Cluster")),
			"etcd: Config.Dir: see Config.Cluster", "Config.DataDir: see Config.Etcd",
		},
		"a whole struct": {
			fieldpath.New("etcd", "Config.Dir", "leave out %s, or join", fieldpath.Whole("Config.Cluster")),
			"etcd: Config.Dir: leave out Config.Cluster, or join", "Config.DataDir: leave out Config.Etcd.Name, or join",
		},
		"another whole struct": {
			fieldpath.New("etcd", "", "leave out %s", fieldpath.Whole("Config.Cluster.Inner")),
			"etcd: leave out Config.Cluster.Inner", "leave out Config.Etcd.Inner",
		},
		"a mention alone": {
			fieldpath.New("pki", "", "%s has another CA", fieldpath.Name("Config.Dir")),
			"pki: Config.Dir has another CA", "Config.DataDir has another CA",
		},
		"text that looks like one": {fieldpath.New("etcd", "Config.Dir", "see Config.Dir"), "etcd: Config.Dir: see Config.Dir", "Config.DataDir: see Config.Dir"},
		"wrapped":                  {fmt.Errorf("start: %w: try again", dirError()), "start: etcd: Config.Dir: /data: in use: try again", "start: Config.DataDir: /data: in use: try again"},
		"wrapped with another":     {fmt.Errorf("%w: %w", errTaken, dirError()), "in use: etcd: Config.Dir: /data: in use", "in use: Config.DataDir: /data: in use"},
		"in a message":             {fieldpath.Errorf("start: %w", dirError()), "start: etcd: Config.Dir: /data: in use", "start: Config.DataDir: /data: in use"},
		"joined":                   {errors.Join(dirError(), errTaken, dirError()), "etcd: Config.Dir: /data: in use\nin use\netcd: Config.Dir: /data: in use", "Config.DataDir: /data: in use\nin use\nConfig.DataDir: /data: in use"},
		"a type":                   {coded{3, dirError()}, "code 3: etcd: Config.Dir: /data: in use", "code 3: Config.DataDir: /data: in use"},
		"of Kubernetes": {
			field.Required(field.NewPath("Config", "Cluster", "Name"), "name it"),
			"Config.Cluster.Name: Required value: name it", "Config.Etcd.Name: Required value: name it",
		},
		"a detail": {
			fieldpath.Detail(field.Required(field.NewPath("Config", "Dir"), ""), "%s is set to %q", fieldpath.NameOf(field.NewPath("Config", "Cluster", "Name")), "Config.Dir"),
			`Config.Dir: Required value: Config.Cluster.Name is set to "Config.Dir"`, `Config.DataDir: Required value: Config.Etcd.Name is set to "Config.Dir"`,
		},
		"alternatives": {
			fieldpath.New("etcd", "Config.Dir", "set %s", fieldpath.OneOf{"Config.Cluster.Name", "Config.A", "Config.B"}),
			"etcd: Config.Dir: set Config.Cluster.Name, Config.A or Config.B", "Config.DataDir: set Config.Etcd.Name, Config.A or Config.B",
		},
		"alternatives of one name": {
			fieldpath.Detail(field.Required(field.NewPath("Config", "Dir"), ""), "set %s", fieldpath.OneOf{"Config.Cluster", "Config.Etcd"}),
			"Config.Dir: Required value: set Config.Cluster or Config.Etcd", "Config.DataDir: Required value: set Config.Etcd",
		},
		"an aggregate, wrapped": {
			fmt.Errorf("invalid: %w", field.ErrorList{
				field.Required(field.NewPath("Config", "Dir"), ""), field.Invalid(field.NewPath("Config", "Cluster", "Join").Index(0), "x", "must be an address"),
			}.ToAggregate()),
			`invalid: [Config.Dir: Required value, Config.Cluster.Join[0]: Invalid value: "x": must be an address]`,
			`invalid: [Config.DataDir: Required value, Config.Etcd.Join[0]: Invalid value: "x": must be an address]`,
		},
		"no field": {fmt.Errorf("start: %w", errTaken), "start: in use", "start: in use"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.err.Error(); got != c.old {
				t.Errorf("the error itself: got %q, want %q", got, c.old)
			}
			renamed := fieldpath.Rename(c.err, planeNames.Rename)
			if got := renamed.Error(); got != c.want {
				t.Errorf("renamed: got %q, want %q", got, c.want)
			}
			if errors.Is(c.err, errTaken) != errors.Is(renamed, errTaken) {
				t.Errorf("errors.Is: got %v, want %v", errors.Is(renamed, errTaken), errors.Is(c.err, errTaken))
			}
		})
	}
	if err := fieldpath.Rename(nil, planeNames.Rename); err != nil {
		t.Errorf("nil: got %v", err)
	}
}

// TestRenameVariable renames an error that callers compare with a variable.
func TestRenameVariable(t *testing.T) {
	errVariable := fieldpath.Errorf("not without %s", fieldpath.Name("Config.Dir"))
	once := fieldpath.Rename(fmt.Errorf("start: %w", errVariable), planeNames.Rename)
	twice := fieldpath.Rename(once, fieldpath.Names{"Config.DataDir": "--data-dir"}.Rename)
	if got, want := twice.Error(), "start: not without --data-dir"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if other := fieldpath.Errorf("not without %s", fieldpath.Name("Config.Dir")); errors.Is(twice, other) {
		t.Errorf("errors.Is with another error: got true, want false")
	}
	for name, err := range map[string]error{"once": once, "twice": twice} {
		if !errors.Is(err, errVariable) {
			t.Errorf("errors.Is, renamed %s: got false, want true", name)
		}
	}
}

// TestRenameDetailAgain renames a detail that has been renamed.
func TestRenameDetailAgain(t *testing.T) {
	errs := field.ErrorList{fieldpath.Detail(field.Forbidden(field.NewPath("Config", "Dir"), ""), "also in %s", fieldpath.Name("Config.Cluster.Join"))}
	once := fieldpath.RenameList(errs, planeNames.Rename)
	twice := fieldpath.RenameList(once, fieldpath.Names{"Config.DataDir": "--data-dir", "Config.Etcd.Join": "--join"}.Rename)
	for _, c := range []struct{ got, want string }{
		{errs.ToAggregate().Error(), "Config.Dir: Forbidden: also in Config.Cluster.Join"},
		{once.ToAggregate().Error(), "Config.DataDir: Forbidden: also in Config.Etcd.Join"},
		{twice.ToAggregate().Error(), "--data-dir: Forbidden: also in --join"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestAlternativesWithoutFlag: a command's user cannot set all fields.
func TestAlternativesWithoutFlag(t *testing.T) {
	flags := fieldpath.Names{"Config.Log": "--log", "Config.Webhook": "--webhook"}.Rename
	for want, fields := range map[string]fieldpath.OneOf{
		"set --log or --webhook":   {"Config.Log", "Config.Sinks", "Config.Webhook", "Config.Log"},
		"set Config.A or Config.B": {"Config.A", "Config.B"},
		"set --webhook":            {"Config.Sinks", "Config.Webhook"},
		"set Config.Sinks":         {"Config.Sinks"},
	} {
		if got := fieldpath.Rename(fieldpath.Errorf("set %s", fields), flags).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		list := field.ErrorList{fieldpath.Detail(field.Required(field.NewPath("Config"), ""), "set %s", fields)}
		once := fieldpath.RenameList(list, func(path string) string { return path })
		if got := fieldpath.RenameList(once, flags)[0].Detail; got != want {
			t.Errorf("a detail: got %q, want %q", got, want)
		}
	}
}

// TestRenameAgain renames for a caller's caller, such as a command with flags.
func TestRenameAgain(t *testing.T) {
	flags := fieldpath.Names{"Config.DataDir": "--data-dir"}
	err := coded{3, fmt.Errorf("start: %w", fmt.Errorf("%w: %w", fs.ErrExist, dirError()))}
	once := fmt.Errorf("controlplane: %w", fieldpath.Rename(err, planeNames.Rename))
	twice := fieldpath.Rename(once, flags.Rename)
	if got, want := twice.Error(), "controlplane: code 3: start: file already exists: --data-dir: /data: in use"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, target := range []error{fs.ErrExist, errTaken} {
		if !errors.Is(twice, target) {
			t.Errorf("errors.Is(%v): got false, want true", target)
		}
	}
	var c coded
	if !errors.As(twice, &c) || c.code != 3 {
		t.Errorf("errors.As: got %v, want code 3", c)
	}
	var named *fieldpath.Error
	if !errors.As(twice, &named) || named.Field != "--data-dir" {
		t.Errorf("errors.As: got %+v, want the new name", named)
	}
}

// TestCauses: errors.Is finds the error of a bad value, also after a renaming.
func TestCauses(t *testing.T) {
	cause := errors.New("the cause")
	errs := field.ErrorList{
		fieldpath.Invalid(field.NewPath("Dir"), "/tmp", fmt.Errorf("/tmp: %w", cause)),
		field.Required(field.NewPath("Name"), "a name"),
	}
	err := fmt.Errorf("invalid: %w", fieldpath.Aggregate(errs))
	for _, err := range []error{err, fieldpath.Rename(err, func(path string) string { return "--" + path })} {
		if !errors.Is(err, cause) {
			t.Errorf("%v: errors.Is does not find the cause", err)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%v: errors.Is finds another error", err)
		}
	}
	if got, want := err.Error(), `invalid: [Dir: Invalid value: "/tmp": /tmp: the cause, Name: Required value: a name]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := fieldpath.Aggregate(nil); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}
