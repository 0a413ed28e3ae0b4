// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestPodsRun(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{Count: 2}))
	seen := map[string]bool{}
	for i := range 20 {
		p.create(t, fmt.Sprint("pod-", i), fmt.Sprint("node-", i%2))
	}
	for i := range 20 {
		pod := p.untilPhase(t, fmt.Sprint("pod-", i), corev1.PodRunning)
		for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodScheduled, corev1.PodReadyToStartContainers} {
			if condition(pod, kind) != corev1.ConditionTrue {
				t.Errorf("%s: %s is %q", pod.Name, kind, condition(pod, kind))
			}
		}
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil || !netip.MustParsePrefix("10.128.0.0/14").Contains(ip) || seen[pod.Status.PodIP] {
			t.Errorf("%s has address %q", pod.Name, pod.Status.PodIP)
		}
		seen[pod.Status.PodIP] = true
		cs := pod.Status.ContainerStatuses[0]
		if !cs.Ready || !*cs.Started || cs.State.Running == nil || cs.ContainerID == "" || cs.ImageID == "" || pod.Status.StartTime == nil {
			t.Errorf("%s: %+v", pod.Name, cs)
		}
		if pod.Status.ObservedGeneration != pod.Generation || pod.Status.HostIP != "127.0.0.1" || pod.Status.QOSClass != corev1.PodQOSBestEffort {
			t.Errorf("%s: %+v", pod.Name, pod.Status)
		}
	}
}

func TestOtherPodsAreIgnored(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "unbound", "")
	p.create(t, "others", "worker")
	p.create(t, "ours", "node-0")
	p.untilPhase(t, "ours", corev1.PodRunning)
	for _, name := range []string{"unbound", "others"} {
		if pod, err := p.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil || pod.Status.StartTime != nil {
			t.Errorf("%s: %+v, %v", name, pod.Status, err)
		}
	}
}

func TestPodAddresses(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}, Spec: corev1.NodeSpec{
		PodCIDR: "10.9.0.0/29", PodCIDRs: []string{"10.9.0.0/29", "fd00:9::/120"},
	}}
	if _, err := p.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.run(t, hollownode.New(hollownode.Config{Count: 2, PodCIDR: "10.8.0.0/29"}))
	// Without network, gateway and broadcast, 5 addresses remain.
	for i := range 6 {
		p.create(t, fmt.Sprint("pod-", i), "node-0")
	}
	seen := map[string]bool{}
	var running, waiting []string
	for i := range 6 {
		pod := p.untilPod(t, fmt.Sprint("pod-", i), func(pod *corev1.Pod) bool { return len(pod.Status.ContainerStatuses) == 1 })
		if pod.Status.ContainerStatuses[0].State.Waiting != nil {
			waiting = append(waiting, pod.Name)
			continue
		}
		running = append(running, pod.Name)
		for _, ip := range pod.Status.PodIPs {
			if seen[ip.IP] {
				t.Errorf("%s has the address %s of another pod", pod.Name, ip.IP)
			}
			seen[ip.IP] = true
		}
		if len(pod.Status.PodIPs) != 2 || pod.Status.PodIP != pod.Status.PodIPs[0].IP || !netip.MustParsePrefix("10.9.0.0/29").Contains(netip.MustParseAddr(pod.Status.PodIP)) {
			t.Errorf("%s has %v", pod.Name, pod.Status.PodIPs)
		}
	}
	if len(running) != 5 || len(waiting) != 1 {
		t.Fatalf("got %v running and %v waiting for an address, want 5 and 1", running, waiting)
	}
	p.create(t, "on-another", "node-1")
	if ip := p.untilPhase(t, "on-another", corev1.PodRunning).Status.PodIP; !netip.MustParsePrefix("10.8.0.0/29").Contains(netip.MustParseAddr(ip)) {
		t.Errorf("got address %s on a node without a range, want one in PodCIDR", ip)
	}
	p.create(t, "host", "node-0", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })
	if ip := p.untilPhase(t, "host", corev1.PodRunning).Status.PodIP; ip != "127.0.0.1" {
		t.Errorf("got address %s for a pod in the host network, want 127.0.0.1", ip)
	}
	p.delete(t, running[0], nil)
	p.untilPhase(t, waiting[0], corev1.PodRunning)
}

func TestGracePeriod(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	deletedAfter := func(name string, grace *int64) time.Duration {
		t.Helper()
		p.untilPhase(t, name, corev1.PodRunning)
		begin := time.Now()
		p.delete(t, name, grace)
		p.untilGone(t, name)
		return time.Since(begin)
	}
	p.create(t, "quick", "node-0")
	deletedAfter("quick", nil)

	p.create(t, "slow", "node-0", annotate(hollownode.AnnotationStopDelay, "1500ms"))
	if elapsed := deletedAfter("slow", nil); elapsed < 1500*time.Millisecond {
		t.Errorf("deleted after %s, before its containers had stopped", elapsed)
	}
	p.create(t, "stubborn", "node-0", annotate(hollownode.AnnotationStopDelay, "1h"))
	if elapsed := deletedAfter("stubborn", ptr.To[int64](1)); elapsed < time.Second {
		t.Errorf("deleted after %s, before its grace period was over", elapsed)
	}
	p.create(t, "forced", "node-0", annotate(hollownode.AnnotationStopDelay, "1h"))
	deletedAfter("forced", ptr.To[int64](0))

	// A graceful deletion, then a forced one.
	p.create(t, "hurried", "node-0", annotate(hollownode.AnnotationStopDelay, "1h"))
	p.untilPhase(t, "hurried", corev1.PodRunning)
	p.delete(t, "hurried", nil)
	p.untilPod(t, "hurried", func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp != nil && pod.Status.Phase == corev1.PodRunning
	})
	deletedAfter("hurried", ptr.To[int64](0))
}

func TestKilledPodsFail(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	finalizer := func(pod *corev1.Pod) { pod.Finalizers = []string{"example.com/look"} }
	for name, want := range map[string]struct {
		delay string
		phase corev1.PodPhase
		code  int32
	}{
		"stops":  {"0s", corev1.PodSucceeded, 0},
		"killed": {"1h", corev1.PodFailed, 137},
	} {
		p.create(t, name, "node-0", finalizer, annotate(hollownode.AnnotationStopDelay, want.delay))
		p.untilPhase(t, name, corev1.PodRunning)
		p.delete(t, name, ptr.To[int64](1))
		pod := p.untilPhase(t, name, want.phase)
		if code := pod.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != want.code || condition(pod, corev1.PodReady) != corev1.ConditionFalse {
			t.Errorf("%s: exit code %d, %v", name, code, pod.Status.Conditions)
		}
		patch := []byte(`{"metadata":{"finalizers":null}}`)
		if _, err := p.CoreV1().Pods("default").Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		p.untilGone(t, name)
	}
}

// job creates a Job and returns a function that makes a pod one of its pods. The Job must
// exist, because the garbage collector runs. No Job controller runs.
func (p plane) job(t testing.TB) func(*corev1.Pod) {
	t.Helper()
	owner, err := p.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "job-"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "busybox"}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, batchv1.SchemeGroupVersion.WithKind("Job"))}
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
}

func TestJobsEnd(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{JobDuration: 100 * time.Millisecond}))
	job := p.job(t)
	p.create(t, "job", "node-0", job)
	p.create(t, "failing", "node-0", job, annotate(hollownode.AnnotationExitCode, "3"))
	p.create(t, "endless", "node-0", job, annotate(hollownode.AnnotationRunFor, "forever"))
	p.create(t, "bare", "node-0", restart(corev1.RestartPolicyNever))
	node, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.create(t, "replica", "node-0", restart(corev1.RestartPolicyNever), func(pod *corev1.Pod) {
		// An existing owner of another kind than Job.
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: new(true)}}
	})
	p.create(t, "task", "node-0", restart(corev1.RestartPolicyNever), annotate(hollownode.AnnotationRunFor, "10ms"))

	done := p.untilPhase(t, "job", corev1.PodSucceeded)
	if end := done.Status.ContainerStatuses[0].State.Terminated; end.ExitCode != 0 || end.Reason != "Completed" || condition(done, corev1.PodReady) != corev1.ConditionFalse {
		t.Errorf("job: %+v, %v", end, done.Status.Conditions)
	}
	failed := p.untilPhase(t, "failing", corev1.PodFailed)
	if end := failed.Status.ContainerStatuses[0].State.Terminated; end.ExitCode != 3 || end.Reason != "Error" {
		t.Errorf("failing: %+v", end)
	}
	p.untilPhase(t, "task", corev1.PodSucceeded)
	for _, name := range []string{"endless", "bare", "replica"} {
		p.untilPhase(t, name, corev1.PodRunning)
	}
	p.delete(t, "job", nil)
	p.untilGone(t, "job")
}

func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "flaky", "node-0", restart(corev1.RestartPolicyOnFailure),
		annotate(hollownode.AnnotationRunFor, "10ms"), annotate(hollownode.AnnotationExitCode, "1"))
	pod := p.untilPod(t, "flaky", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Waiting != nil
	})
	cs := pod.Status.ContainerStatuses[0]
	if cs.State.Waiting.Reason != "CrashLoopBackOff" || cs.LastTerminationState.Terminated.ExitCode != 1 || pod.Status.Phase != corev1.PodRunning || cs.Ready {
		t.Errorf("%+v", pod.Status)
	}
	// The next run succeeds.
	patch := []byte(`{"metadata":{"annotations":{"` + hollownode.AnnotationExitCode + `":"0"}}}`)
	if _, err := p.CoreV1().Pods("default").Patch(t.Context(), "flaky", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if cs := p.untilPhase(t, "flaky", corev1.PodSucceeded).Status.ContainerStatuses[0]; cs.RestartCount != 1 {
		t.Errorf("got %d restarts, want 1", cs.RestartCount)
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "gated", "node-0", annotate(hollownode.AnnotationReady, "false"), func(pod *corev1.Pod) {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/open"}}
	})
	pod := p.untilPhase(t, "gated", corev1.PodRunning)
	if pod.Status.ContainerStatuses[0].Ready || condition(pod, corev1.ContainersReady) != corev1.ConditionFalse {
		t.Errorf("%+v", pod.Status)
	}
	patch := []byte(`{"metadata":{"annotations":{"` + hollownode.AnnotationReady + `":null}}}`)
	if _, err := p.CoreV1().Pods("default").Patch(t.Context(), "gated", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	pod = p.untilPod(t, "gated", func(pod *corev1.Pod) bool { return condition(pod, corev1.ContainersReady) == corev1.ConditionTrue })
	if condition(pod, corev1.PodReady) != corev1.ConditionFalse {
		t.Error("the pod is Ready with a closed readiness gate")
	}
	patch = []byte(`{"status":{"conditions":[{"type":"example.com/open","status":"True"}]}}`)
	if _, err := p.CoreV1().Pods("default").Patch(t.Context(), "gated", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	pod = p.untilPod(t, "gated", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) == corev1.ConditionTrue })
	if condition(pod, "example.com/open") != corev1.ConditionTrue {
		t.Error("the condition of the gate is gone")
	}
}

func TestInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "pod", "node-0", p.job(t), annotate(hollownode.AnnotationStartDelay, "1s"), annotate(hollownode.AnnotationRunFor, "1s"), func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "init", Image: "busybox"},
			{Name: "sidecar", Image: "busybox", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
		}
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m")}
	})
	pod := p.untilPod(t, "pod", func(pod *corev1.Pod) bool { return pod.Status.StartTime != nil })
	if pod.Status.Phase != corev1.PodPending || condition(pod, corev1.PodInitialized) != corev1.ConditionFalse || pod.Status.ContainerStatuses[0].State.Waiting.Reason != "PodInitializing" {
		t.Errorf("before it starts: %+v", pod.Status)
	}
	pod = p.untilPhase(t, "pod", corev1.PodRunning)
	init, sidecar := pod.Status.InitContainerStatuses[0], pod.Status.InitContainerStatuses[1]
	if init.State.Terminated == nil || !init.Ready || sidecar.State.Running == nil || !sidecar.Ready || condition(pod, corev1.PodReady) != corev1.ConditionTrue {
		t.Errorf("running: %+v", pod.Status)
	}
	if cpu := pod.Status.ContainerStatuses[0].AllocatedResources["cpu"]; cpu.String() != "100m" {
		t.Errorf("allocated CPU: %s", cpu.String())
	}
	pod = p.untilPhase(t, "pod", corev1.PodSucceeded)
	if pod.Status.InitContainerStatuses[1].State.Terminated == nil {
		t.Error("the sidecar is still running")
	}
}

func TestActiveDeadline(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "pod", "node-0", func(pod *corev1.Pod) { pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) })
	if pod := p.untilPhase(t, "pod", corev1.PodFailed); pod.Status.Reason != "DeadlineExceeded" {
		t.Errorf("%+v", pod.Status)
	}
}
