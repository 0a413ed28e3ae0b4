package hollownode

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of a pod say how it behaves. They may be changed while it runs. A
// value that cannot be understood counts as none, and is logged.
const (
	// AnnotationStartDelay is how long the pod is Pending on its node, as a
	// duration like "500ms"; instead of Config.StartDelay.
	AnnotationStartDelay = "hollownode.kubembed.dev/start-delay"

	// AnnotationRunFor is how long the containers run before they end by
	// themselves, as a duration like "5s", or "forever"; instead of
	// Config.JobDuration. It works for every pod. What happens then is up to the
	// restart policy.
	AnnotationRunFor = "hollownode.kubembed.dev/run-for"

	// AnnotationExitCode is the exit code with which the containers end by
	// themselves, from 0 to 255. Without it, 0.
	AnnotationExitCode = "hollownode.kubembed.dev/exit-code"

	// AnnotationStopDelay is how long the containers take to stop when the pod is
	// deleted, as a duration; instead of Config.StopDelay.
	AnnotationStopDelay = "hollownode.kubembed.dev/stop-delay"

	// AnnotationReady tells, with "false", that the containers run but are not
	// ready, as if their readiness probes failed.
	AnnotationReady = "hollownode.kubembed.dev/ready"

	// AnnotationLog is what the containers write to their log when they start.
	AnnotationLog = "hollownode.kubembed.dev/log"
)

// forever is a run that ends only with the pod.
const forever time.Duration = -1

// behaviour is what a pod does in its life.
type behaviour struct {
	startDelay, runFor, stopDelay time.Duration
	exitCode                      int32
	ready                         bool
}

// behaviour returns what pod does, and what is wrong with its annotations.
func (c *Config) behaviour(pod *corev1.Pod) (behaviour, error) {
	b := behaviour{startDelay: c.StartDelay, stopDelay: c.StopDelay, runFor: forever, ready: true}
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "Job" {
		b.runFor = c.JobDuration
	}
	var errs []error
	set := func(annotation string, to func(string) error) {
		if value, ok := pod.Annotations[annotation]; ok {
			if err := to(value); err != nil {
				errs = append(errs, fmt.Errorf("annotation %s: %w", annotation, err))
			}
		}
	}
	set(AnnotationStartDelay, durationTo(&b.startDelay))
	set(AnnotationStopDelay, durationTo(&b.stopDelay))
	set(AnnotationRunFor, func(value string) error {
		if value == "forever" {
			b.runFor = forever
			return nil
		}
		return durationTo(&b.runFor)(value)
	})
	set(AnnotationExitCode, func(value string) error {
		code, err := strconv.ParseUint(value, 10, 8)
		if err == nil {
			b.exitCode = int32(code)
		}
		return err
	})
	set(AnnotationReady, func(value string) error {
		ready, err := strconv.ParseBool(value)
		if err == nil {
			b.ready = ready
		}
		return err
	})
	return b, errors.Join(errs...)
}

func durationTo(target *time.Duration) func(string) error {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		switch {
		case err != nil:
			return err
		case d < 0:
			return fmt.Errorf("%s is negative", value)
		}
		*target = d
		return nil
	}
}
