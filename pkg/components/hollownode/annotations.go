// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations change the behavior of a pod, also while it runs. An invalid value is
// logged and ignored.
const (
	// AnnotationStartDelay is the time for which the pod is Pending on its node, as a
	// duration like "500ms". It overrides Config.StartDelay.
	AnnotationStartDelay = "hollownode.kubembed.dev/start-delay"

	// AnnotationRunFor is the time after which the containers exit, as a duration like
	// "5s", or "forever". It overrides Config.JobDuration and applies to all pods. The
	// restart policy applies to the exit.
	AnnotationRunFor = "hollownode.kubembed.dev/run-for"

	// AnnotationExitCode is the exit code of the containers, from 0 to 255. Without
	// it, 0.
	AnnotationExitCode = "hollownode.kubembed.dev/exit-code"

	// AnnotationStopDelay is the time that the containers take to stop when the pod is
	// deleted, as a duration. It overrides Config.StopDelay.
	AnnotationStopDelay = "hollownode.kubembed.dev/stop-delay"

	// AnnotationReady with the value "false" means that the containers run but are not
	// ready, as if their readiness probes failed.
	AnnotationReady = "hollownode.kubembed.dev/ready"

	// AnnotationLog is the text that the containers log when they start.
	AnnotationLog = "hollownode.kubembed.dev/log"
)

// forever means that the containers run until the pod is deleted.
const forever time.Duration = -1

// behavior is the simulated behavior of a pod.
type behavior struct {
	startDelay, runFor, stopDelay time.Duration
	exitCode                      int32
	ready                         bool
}

// behavior returns the behavior of pod, and an error for its invalid annotations.
func (c *Config) behavior(pod *corev1.Pod) (behavior, error) {
	b := behavior{startDelay: c.StartDelay, stopDelay: c.StopDelay, runFor: forever, ready: true}
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
