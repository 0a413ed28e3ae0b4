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

	// exitKilled is the exit code of what is killed: 128 and the number of SIGKILL.
	exitKilled = 137

	// The kubelet's.
	restartDelay    = 10 * time.Second
	maxRestartDelay = 5 * time.Minute
)

// step is what is to be done about a pod.
type step struct {
	status corev1.PodStatus
	// wake is when to look again, if nothing else happens. If zero, never.
	wake time.Time
	// remove means that nothing of the pod runs any more, and its deletion can be
	// confirmed.
	remove bool
}

// step looks what has become of the pod by now. It changes only p's own times;
// takeIPs gives the pod its addresses, unless there are none.
func (p *pod) step(now time.Time, hostIP string, takeIPs func() []corev1.PodIP) step {
	s := step{status: *p.object.Status.DeepCopy()}
	switch {
	case podutil.IsPodPhaseTerminal(s.status.Phase):
		s.remove = p.object.DeletionTimestamp != nil
		return s
	case p.object.DeletionTimestamp != nil:
		p.stop(&s, now)
	case s.status.StartTime == nil || s.status.Phase != corev1.PodRunning:
		p.start(&s, now, takeIPs)
	default:
		p.live(&s, now)
	}
	if deadline := p.object.Spec.ActiveDeadlineSeconds; deadline != nil && s.status.StartTime != nil && p.object.DeletionTimestamp == nil {
		p.deadline(&s, now, s.status.StartTime.Add(time.Duration(*deadline)*time.Second))
	}
	p.finish(&s.status, hostIP)
	return s
}

// start takes the pod from its binding to Running.
func (p *pod) start(s *step, now time.Time, takeIPs func() []corev1.PodIP) {
	s.status.Phase = corev1.PodPending
	if s.status.StartTime == nil {
		s.status.StartTime = ptr.To(metav1.NewTime(now))
	} else if started := s.status.StartTime.Time; p.bound.Sub(started) >= time.Second {
		p.bound = started // it was there before us
	}
	s.wake = p.bound.Add(p.behaviour.startDelay)
	if now.Before(s.wake) {
		p.waiting(&s.status, "ContainerCreating")
		return
	}
	ips := p.podIPs
	if len(ips) == 0 && !p.object.Spec.HostNetwork {
		if ips = takeIPs(); len(ips) == 0 {
			s.wake = now.Add(time.Second)
			p.waiting(&s.status, "NoAddress")
			return
		}
		p.podIPs = ips
	}
	s.status.PodIPs = ips
	s.status.Phase = corev1.PodRunning
	for i, c := range p.object.Spec.InitContainers {
		if podutil.IsRestartableInitContainer(&c) {
			p.run(at(&s.status.InitContainerStatuses, i, &c), now)
		} else {
			end(at(&s.status.InitContainerStatuses, i, &c), now, now, 0)
		}
	}
	for i, c := range p.object.Spec.Containers {
		p.run(at(&s.status.ContainerStatuses, i, &c), now)
	}
	p.since = now
	s.wake = p.ends()
}

// waiting is a pod with containers that have not started.
func (p *pod) waiting(status *corev1.PodStatus, reason string) {
	if len(p.object.Spec.InitContainers) > 0 && reason == "ContainerCreating" {
		reason = "PodInitializing"
	}
	for list, containers := range map[*[]corev1.ContainerStatus][]corev1.Container{
		&status.InitContainerStatuses: p.object.Spec.InitContainers,
		&status.ContainerStatuses:     p.object.Spec.Containers,
	} {
		for i, c := range containers {
			cs := at(list, i, &c)
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
			cs.Started = ptr.To(false)
		}
	}
}

// live lets containers of a running pod end and start again.
func (p *pod) live(s *step, now time.Time) {
	if p.since.IsZero() {
		p.since = lastChange(s.status.ContainerStatuses)
	}
	ends := p.ends()
	running, restarting := false, false
	since := p.since
	for i, c := range p.object.Spec.Containers {
		cs := at(&s.status.ContainerStatuses, i, &c)
		switch {
		case cs.State.Running != nil && !ends.IsZero() && !now.Before(ends):
			end(cs, cs.State.Running.StartedAt.Time, now, p.behaviour.exitCode)
			since = now
			if podutil.ContainerShouldRestart(c, p.object.Spec, p.behaviour.exitCode) {
				cs.LastTerminationState = cs.State
				cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
				restarting = true
			}
		case cs.State.Running != nil:
			cs.Ready = p.behaviour.ready
			running = true
		case cs.State.Terminated == nil: // waits to be started again
			if now.Before(p.since.Add(backOff(cs.RestartCount))) {
				restarting = true
				continue
			}
			cs.RestartCount++
			p.run(cs, now)
			since, running = now, true
		}
	}
	p.since = since
	switch {
	case restarting:
		s.wake = p.since.Add(backOff(maxRestarts(s.status.ContainerStatuses)))
	case running:
		s.wake = p.ends()
	default:
		p.end(&s.status, now)
	}
}

// ends is when the containers that run now end by themselves, or zero.
func (p *pod) ends() time.Time {
	if p.behaviour.runFor == forever {
		return time.Time{}
	}
	return p.since.Add(p.behaviour.runFor)
}

// stop ends the containers of a pod that is being deleted.
func (p *pod) stop(s *step, now time.Time) {
	if p.deleting.IsZero() {
		p.deleting = now
	}
	if s.status.Phase != corev1.PodRunning {
		s.remove = true
		return
	}
	code := int32(0)
	delay := p.behaviour.stopDelay
	if grace := time.Duration(ptr.Deref(p.object.DeletionGracePeriodSeconds, 0)) * time.Second; grace < delay {
		delay, code = grace, exitKilled
	}
	if s.wake = p.deleting.Add(delay); now.Before(s.wake) {
		return
	}
	s.wake, s.remove = time.Time{}, true
	p.terminate(&s.status, now, code)
}

// deadline ends a pod that has been active for too long.
func (p *pod) deadline(s *step, now, deadline time.Time) {
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

// terminate ends all containers that have not, and the pod.
func (p *pod) terminate(status *corev1.PodStatus, now time.Time, code int32) {
	for i, c := range p.object.Spec.Containers {
		cs := at(&status.ContainerStatuses, i, &c)
		switch {
		case cs.State.Running != nil:
			end(cs, cs.State.Running.StartedAt.Time, now, code)
		case cs.LastTerminationState.Terminated != nil:
			cs.State, cs.LastTerminationState = cs.LastTerminationState, corev1.ContainerState{}
		}
	}
	p.end(status, now)
}

// end is a pod whose containers have all ended.
func (p *pod) end(status *corev1.PodStatus, now time.Time) {
	status.Phase = corev1.PodSucceeded
	for _, cs := range status.ContainerStatuses {
		if cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
			status.Phase = corev1.PodFailed
		}
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			if running := list[i].State.Running; running != nil {
				end(&list[i], running.StartedAt.Time, now, 0)
			}
		}
	}
}

// backOff is the pause before a container that has been restarted so often is
// restarted again.
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

// lastChange is when containers last started or ended, in full seconds.
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
