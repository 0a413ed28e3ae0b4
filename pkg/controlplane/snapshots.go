package controlplane

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Snapshots says how often a control plane takes a snapshot of itself, in the
// form of Server.Snapshot. Where control planes share an etcd one of them does.
type Snapshots struct {
	// Dir is the folder for them, best on another disk. It is created with mode
	// 0700 if it is missing. If empty, "snapshots" in DataDir.
	Dir string
	// Interval is the time between two of them, from the start on. If zero, none are
	// taken.
	Interval time.Duration
	// Keep is how many are kept; older ones are deleted. If zero, 5.
	Keep int
}

func (s Snapshots) validate(at *field.Path) (errs field.ErrorList) {
	if s.Interval < 0 {
		errs = append(errs, field.Invalid(at.Child("Interval"), s.Interval.String(), "must not be negative; zero takes none"))
	}
	if s.Keep < 0 {
		errs = append(errs, field.Invalid(at.Child("Keep"), s.Keep, "must not be negative; zero keeps 5"))
	}
	if s.Interval == 0 && (s.Dir != "" || s.Keep != 0) {
		errs = append(errs, field.Required(at.Child("Interval"), "Dir or Keep is set but no snapshot would be taken"))
	}
	return errs
}
