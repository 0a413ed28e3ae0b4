// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/utils/ptr"
)

const (
	reasonCompleted = "Completed"
	reasonError     = "Error"

	// exitKilled is the exit code of a killed container: 128 plus the number of SIGKILL.
	exitKilled = 137

	// Restart back-off of the kubelet.
	restartDelay    = 10 * time.Second
	maxRestartDelay = 5 * time.Minute
)

// step is the next step in the lifecycle of a pod.
type step struct {
	status corev1.PodStatus
	// wake is the time of the following step, if no event comes first. If zero, there
	// is none.
	wake time.Time
	// remove means that all containers have stopped and the deletion can be confirmed.
	remove bool
}

// step computes the next step of the pod at the time now. It modifies only the times and
// addresses of p, not its object. allocateIPs returns no addresses if none are free.
func (p *pod) step(now time.Time, hostIP string, allocateIPs func() []corev1.PodIP) step {
	s := step{status: *p.object.Status.DeepCopy()}
	switch {
	case podutil.IsPodPhaseTerminal(s.status.Phase):
		s.remove = p.object.DeletionTimestamp != nil
		return s
	case p.object.DeletionTimestamp != nil:
		p.stepDeleting(&s, now)
	case s.status.StartTime == nil || s.status.Phase != corev1.PodRunning:
		p.stepPending(&s, now, allocateIPs)
	default:
		p.stepRunning(&s, now)
	}
	if deadline := p.object.Spec.ActiveDeadlineSeconds; deadline != nil && s.status.StartTime != nil && p.object.DeletionTimestamp == nil {
		p.stepDeadline(&s, now, s.status.StartTime.Add(time.Duration(*deadline)*time.Second))
	}
	p.fillStatus(&s.status, hostIP)
	return s
}

// stepPending takes a bound pod to Running.
func (p *pod) stepPending(s *step, now time.Time, allocateIPs func() []corev1.PodIP) {
	s.status.Phase = corev1.PodPending
	if s.status.StartTime == nil {
		s.status.StartTime = new(metav1.NewTime(now))
	} else if started := s.status.StartTime.Time; p.bound.Sub(started) >= time.Second {
		p.bound = started // before this session
	}
	s.wake = p.bound.Add(p.behavior.startDelay)
	if now.Before(s.wake) {
		p.setWaiting(&s.status, "ContainerCreating")
		return
	}
	ips := p.podIPs
	if len(ips) == 0 && !p.object.Spec.HostNetwork {
		if ips = allocateIPs(); len(ips) == 0 {
			s.wake = now.Add(time.Second)
			p.setWaiting(&s.status, "NoAddress")
			return
		}
		p.podIPs = ips
	}
	s.status.PodIPs = ips
	s.status.Phase = corev1.PodRunning
	for i, c := range p.object.Spec.InitContainers {
		if podutil.IsRestartableInitContainer(&c) {
			p.setRunning(containerStatus(&s.status.InitContainerStatuses, i, &c), now)
		} else {
			setTerminated(containerStatus(&s.status.InitContainerStatuses, i, &c), now, now, 0)
		}
	}
	for i, c := range p.object.Spec.Containers {
		p.setRunning(containerStatus(&s.status.ContainerStatuses, i, &c), now)
	}
	p.since = now
	s.wake = p.exitTime()
}

// setWaiting sets the status of containers that have not started.
func (p *pod) setWaiting(status *corev1.PodStatus, reason string) {
	if len(p.object.Spec.InitContainers) > 0 && reason == "ContainerCreating" {
		reason = "PodInitializing"
	}
	for list, containers := range map[*[]corev1.ContainerStatus][]corev1.Container{
		&status.InitContainerStatuses: p.object.Spec.InitContainers,
		&status.ContainerStatuses:     p.object.Spec.Containers,
	} {
		for i, c := range containers {
			cs := containerStatus(list, i, &c)
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
			cs.Started = new(false)
		}
	}
}

// stepRunning exits and restarts containers of a running pod.
func (p *pod) stepRunning(s *step, now time.Time) {
	if p.since.IsZero() {
		p.since = lastChange(s.status.ContainerStatuses)
	}
	exitTime := p.exitTime()
	running, restarting := false, false
	since := p.since
	for i, c := range p.object.Spec.Containers {
		cs := containerStatus(&s.status.ContainerStatuses, i, &c)
		switch {
		case cs.State.Running != nil && !exitTime.IsZero() && !now.Before(exitTime):
			setTerminated(cs, cs.State.Running.StartedAt.Time, now, p.behavior.exitCode)
			since = now
			if podutil.ContainerShouldRestart(c, p.object.Spec, p.behavior.exitCode) {
				cs.LastTerminationState = cs.State
				cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
				restarting = true
			}
		case cs.State.Running != nil:
			cs.Ready = p.behavior.ready
			running = true
		case cs.State.Terminated == nil: // waits for its restart
			if now.Before(p.since.Add(backOff(cs.RestartCount))) {
				restarting = true
				continue
			}
			cs.RestartCount++
			p.setRunning(cs, now)
			since, running = now, true
		}
	}
	p.since = since
	switch {
	case restarting:
		s.wake = p.since.Add(backOff(maxRestarts(s.status.ContainerStatuses)))
	case running:
		s.wake = p.exitTime()
	default:
		p.complete(&s.status, now)
	}
}

// exitTime returns when the running containers exit, or zero.
func (p *pod) exitTime() time.Time {
	if p.behavior.runFor == forever {
		return time.Time{}
	}
	return p.since.Add(p.behavior.runFor)
}

// stepDeleting stops the containers of a pod that is being deleted.
func (p *pod) stepDeleting(s *step, now time.Time) {
	if p.deleting.IsZero() {
		p.deleting = now
	}
	if s.status.Phase != corev1.PodRunning {
		s.remove = true
		return
	}
	code := int32(0)
	delay := p.behavior.stopDelay
	if grace := time.Duration(ptr.Deref(p.object.DeletionGracePeriodSeconds, 0)) * time.Second; grace < delay {
		delay, code = grace, exitKilled
	}
	if s.wake = p.deleting.Add(delay); now.Before(s.wake) {
		return
	}
	s.wake, s.remove = time.Time{}, true
	p.terminate(&s.status, now, code)
}

// stepDeadline ends a pod that has been active for longer than its deadline.
func (p *pod) stepDeadline(s *step, now, deadline time.Time) {
	switch {
	case podutil.IsPodPhaseTerminal(s.status.Phase):
	case now.Before(deadline):
		if s.wake.IsZero() || deadline.Before(s.wake) {
			s.wake = deadline
		}
	default:
		p.terminate(&s.status, now, exitKilled)
		s.status.Reason = "DeadlineExceeded"
		s.status.Message = "Pod was active on the node longer than the specified deadline"
		s.wake = time.Time{}
	}
}

// terminate stops all running containers and completes the pod.
func (p *pod) terminate(status *corev1.PodStatus, now time.Time, code int32) {
	for i, c := range p.object.Spec.Containers {
		cs := containerStatus(&status.ContainerStatuses, i, &c)
		switch {
		case cs.State.Running != nil:
			setTerminated(cs, cs.State.Running.StartedAt.Time, now, code)
		case cs.LastTerminationState.Terminated != nil:
			cs.State, cs.LastTerminationState = cs.LastTerminationState, corev1.ContainerState{}
		}
	}
	p.complete(status, now)
}

// complete sets the phase of a pod whose containers have all exited.
func (p *pod) complete(status *corev1.PodStatus, now time.Time) {
	status.Phase = corev1.PodSucceeded
	for _, cs := range status.ContainerStatuses {
		if cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
			status.Phase = corev1.PodFailed
		}
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			if running := list[i].State.Running; running != nil {
				setTerminated(&list[i], running.StartedAt.Time, now, 0)
			}
		}
	}
}

// backOff returns the pause before the next restart of a container, after that many
// restarts.
func backOff(restarts int32) time.Duration {
	return min(restartDelay<<min(restarts, 10), maxRestartDelay)
}

func maxRestarts(list []corev1.ContainerStatus) (most int32) {
	for _, cs := range list {
		if cs.State.Waiting != nil {
			most = max(most, cs.RestartCount)
		}
	}
	return most
}

// lastChange returns when a container last started or exited, in full seconds.
func lastChange(list []corev1.ContainerStatus) (last time.Time) {
	for _, cs := range list {
		var changed time.Time
		switch {
		case cs.State.Running != nil:
			changed = cs.State.Running.StartedAt.Time
		case cs.State.Terminated != nil:
			changed = cs.State.Terminated.FinishedAt.Time
		case cs.LastTerminationState.Terminated != nil:
			changed = cs.LastTerminationState.Terminated.FinishedAt.Time
		}
		if changed.After(last) {
			last = changed
		}
	}
	return last
}
