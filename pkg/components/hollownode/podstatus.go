// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// containerStatus returns the status of container i in list. It adds missing ones.
func containerStatus(list *[]corev1.ContainerStatus, i int, c *corev1.Container) *corev1.ContainerStatus {
	for len(*list) <= i {
		*list = append(*list, corev1.ContainerStatus{})
	}
	cs := &(*list)[i]
	if cs.Name != c.Name {
		*cs = corev1.ContainerStatus{Name: c.Name}
	}
	cs.Image = c.Image
	if cs.ImageID == "" {
		cs.ImageID = "hollow://sha256:" + hash(c.Image)
	}
	// A resize of the pod takes effect at once.
	if len(c.Resources.Limits) > 0 || len(c.Resources.Requests) > 0 {
		cs.Resources = c.Resources.DeepCopy()
	}
	cs.AllocatedResources = c.Resources.Requests.DeepCopy()
	return cs
}

func hash(parts ...any) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprintln(parts...))))
}

// setRunning sets the status of a container that starts.
func (p *pod) setRunning(cs *corev1.ContainerStatus, now time.Time) {
	cs.ContainerID = "hollow://" + hash(p.object.UID, cs.Name, cs.RestartCount)
	cs.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}
	cs.Started, cs.Ready = new(true), p.behavior.ready
}

// setTerminated sets the status of a container that has exited.
func setTerminated(cs *corev1.ContainerStatus, started, now time.Time, code int32) {
	reason := reasonCompleted
	if code != 0 {
		reason = reasonError
	}
	cs.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode:    code,
		Reason:      reason,
		StartedAt:   metav1.NewTime(started),
		FinishedAt:  metav1.NewTime(now),
		ContainerID: cs.ContainerID,
	}}
	cs.Started, cs.Ready = new(false), false
}

// fillStatus sets the fields of status that follow from its phase and containers.
func (p *pod) fillStatus(status *corev1.PodStatus, hostIP string) {
	status.ObservedGeneration = podutil.CalculatePodStatusObservedGeneration(p.object)
	status.HostIP, status.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	if p.object.Spec.HostNetwork && status.Phase == corev1.PodRunning {
		status.PodIPs = []corev1.PodIP{{IP: hostIP}}
	}
	if len(status.PodIPs) > 0 {
		status.PodIP = status.PodIPs[0].IP
	}
	for i, c := range p.object.Spec.InitContainers {
		cs := containerStatus(&status.InitContainerStatuses, i, &c)
		if t := cs.State.Terminated; t != nil {
			if cs.ContainerID == "" {
				cs.ContainerID = "hollow://" + hash(p.object.UID, cs.Name)
				t.ContainerID = cs.ContainerID
			}
			cs.Ready = t.ExitCode == 0 && !podutil.IsRestartableInitContainer(&c)
		}
	}
	for i, c := range p.object.Spec.Containers {
		containerStatus(&status.ContainerStatuses, i, &c)
	}
	if status.Phase == corev1.PodRunning {
		for i, c := range p.object.Spec.EphemeralContainers {
			common := corev1.Container(c.EphemeralContainerCommon)
			if cs := containerStatus(&status.EphemeralContainerStatuses, i, &common); cs.State == (corev1.ContainerState{}) {
				p.setRunning(cs, time.Now())
				cs.Ready = false
			}
		}
	}
	p.setConditions(status)
}

// setConditions sets the conditions of the kubelet, with its reasons. It keeps all
// others, including readiness gates.
func (p *pod) setConditions(status *corev1.PodStatus) {
	set := func(kind corev1.PodConditionType, ok bool, reason, message string) {
		condition := corev1.PodCondition{
			Type:               kind,
			Status:             corev1.ConditionTrue,
			Reason:             reason,
			Message:            message,
			ObservedGeneration: podutil.CalculatePodConditionObservedGeneration(status, p.object.Generation, kind),
		}
		if !ok {
			condition.Status = corev1.ConditionFalse
		}
		podutil.UpdatePodCondition(status, &condition)
	}
	set(corev1.PodReadyToStartContainers, status.Phase == corev1.PodRunning, "", "")

	switch names := containerNames(p.object.Spec.InitContainers); {
	case status.Phase == corev1.PodSucceeded:
		set(corev1.PodInitialized, true, "PodCompleted", "")
	case status.Phase == corev1.PodPending && len(names) > 0:
		set(corev1.PodInitialized, false, "ContainersNotInitialized", nameList("containers with incomplete status", names))
	default:
		set(corev1.PodInitialized, true, "", "")
	}

	ready, reason, message := !podutil.IsPodPhaseTerminal(status.Phase), "", ""
	switch status.Phase {
	case corev1.PodSucceeded:
		reason = "PodCompleted"
	case corev1.PodFailed:
		reason = "PodFailed"
	default:
		if unready := p.unready(status); len(unready) > 0 {
			ready, reason, message = false, "ContainersNotReady", nameList("containers with unready status", unready)
		}
	}
	set(corev1.ContainersReady, ready, reason, message)
	if ready {
		if closed := p.closedGates(status); len(closed) > 0 {
			ready, reason, message = false, "ReadinessGatesNotReady", strings.Join(closed, ", ")
		}
	}
	set(corev1.PodReady, ready, reason, message)
	if _, scheduled := podutil.GetPodCondition(status, corev1.PodScheduled); scheduled == nil {
		set(corev1.PodScheduled, true, "", "")
	}
}

// unready returns the names of the containers that must be ready and are not.
func (p *pod) unready(status *corev1.PodStatus) (names []string) {
	for i, c := range p.object.Spec.InitContainers {
		if podutil.IsRestartableInitContainer(&c) && !status.InitContainerStatuses[i].Ready {
			names = append(names, c.Name)
		}
	}
	for i, c := range p.object.Spec.Containers {
		if !status.ContainerStatuses[i].Ready {
			names = append(names, c.Name)
		}
	}
	return names
}

// closedGates returns a message for each readiness gate that is not open.
func (p *pod) closedGates(status *corev1.PodStatus) (problems []string) {
	for _, gate := range p.object.Spec.ReadinessGates {
		switch _, condition := podutil.GetPodCondition(status, gate.ConditionType); {
		case condition == nil:
			problems = append(problems, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case condition.Status != corev1.ConditionTrue:
			problems = append(problems, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, condition.Status))
		}
	}
	return problems
}

func containerNames(containers []corev1.Container) (names []string) {
	for _, c := range containers {
		names = append(names, c.Name)
	}
	return names
}

// nameList formats names as the kubelet does.
func nameList(what string, names []string) string {
	return what + ": [" + strings.Join(names, " ") + "]"
}
