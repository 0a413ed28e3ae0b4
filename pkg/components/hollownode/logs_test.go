// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// logs reads a log through the API server, as kubectl does.
func (p plane) logs(t *testing.T, pod string, options corev1.PodLogOptions) (string, error) {
	t.Helper()
	stream, err := p.CoreV1().Pods("default").GetLogs(pod, &options).Stream(t.Context())
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	data, err := io.ReadAll(stream)
	return string(data), err
}

func (p plane) mustLog(t *testing.T, pod string, options corev1.PodLogOptions) string {
	t.Helper()
	text, err := p.logs(t, pod, options)
	if err != nil {
		t.Fatalf("logs of %s: %v", pod, err)
	}
	return text
}

func TestLogs(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	nodes := hollownode.New(hollownode.Config{Count: 2})
	p.run(t, nodes)
	p.create(t, "talker", "node-1", p.job(t), annotate(hollownode.AnnotationLog, "one\ntwo"), annotate(hollownode.AnnotationRunFor, "10ms"))
	p.untilPhase(t, "talker", corev1.PodSucceeded)
	const started = "hollow container main of pod default/talker started on node-1, image registry.k8s.io/pause\n"
	for want, options := range map[string]corev1.PodLogOptions{
		started + "one\ntwo\nended with exit code 0\n": {},
		"two\nended with exit code 0\n":                {TailLines: ptr.To[int64](2)},
		"hollow":                                       {LimitBytes: ptr.To[int64](6)},
		"":                                             {SinceTime: new(metav1.NewTime(time.Now().Add(time.Hour)))},
	} {
		if got := p.mustLog(t, "talker", options); got != want {
			t.Errorf("%+v:\n%q, want\n%q", options, got, want)
		}
	}
	stamped := p.mustLog(t, "talker", corev1.PodLogOptions{Timestamps: true})
	if stamp, _, _ := strings.Cut(stamped, " "); len(stamp) == 0 {
		t.Errorf("got %q, want a timestamp", stamped)
	} else if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
		t.Error(err)
	}
	if text, err := p.logs(t, "talker", corev1.PodLogOptions{Previous: true}); err == nil || !strings.Contains(err.Error(), "previous terminated container") {
		t.Errorf("logs of a missing previous container: got %q, %v", text, err)
	}
	p.create(t, "waits", "node-0", annotate(hollownode.AnnotationStartDelay, "1h"))
	p.untilPod(t, "waits", func(pod *corev1.Pod) bool { return pod.Status.StartTime != nil })
	if text, err := p.logs(t, "waits", corev1.PodLogOptions{}); err == nil || !strings.Contains(err.Error(), "waiting to start: ContainerCreating") {
		t.Errorf("logs of a container that has not started: got %q, %v", text, err)
	}
	if err := nodes.Kill("node-1"); err != nil {
		t.Fatal(err)
	}
	if text, err := p.logs(t, "talker", corev1.PodLogOptions{}); err == nil {
		t.Errorf("a killed node serves the log %q", text)
	}
}

func TestLogsOfPreviousContainer(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "flaky", "node-0", annotate(hollownode.AnnotationRunFor, "10ms"), annotate(hollownode.AnnotationExitCode, "7"))
	p.untilPod(t, "flaky", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil
	})
	for _, options := range []corev1.PodLogOptions{{}, {Previous: true}} {
		if text := p.mustLog(t, "flaky", options); !strings.HasSuffix(text, "ended with exit code 7\n") {
			t.Errorf("%+v: %q", options, text)
		}
	}
}

func TestLogsAreFollowed(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	stop := p.run(t, hollownode.New(hollownode.Config{}))
	follow := func(name string) (first string, rest func() string) {
		t.Helper()
		p.create(t, name, "node-0", restart(corev1.RestartPolicyNever))
		p.untilPhase(t, name, corev1.PodRunning)
		stream, err := p.CoreV1().Pods("default").GetLogs(name, &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stream.Close() })
		reader := bufio.NewReader(stream)
		first, err = reader.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return first, func() string {
			data, _ := io.ReadAll(reader)
			return string(data)
		}
	}
	first, rest := follow("ends")
	if !strings.Contains(first, "started") {
		t.Errorf("%q", first)
	}
	patch := []byte(`{"metadata":{"annotations":{"` + hollownode.AnnotationRunFor + `":"0s"}}}`)
	if _, err := p.CoreV1().Pods("default").Patch(t.Context(), "ends", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := rest(); got != "ended with exit code 0\n" {
		t.Errorf("%q", got)
	}
	_, rest = follow("deleted")
	p.delete(t, "deleted", nil)
	rest() // ends
	_, rest = follow("cut")
	stop() // does not wait for the stream
	rest()
}

// TestLogsAreAuthorized: only users that may access nodes/proxy can read logs.
func TestLogsAreAuthorized(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "pod", "node-0")
	p.untilPhase(t, "pod", corev1.PodRunning)
	node, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port))) + "/containerLogs/default/pod/main"
	get := func(certificates ...tls.Certificate) (int, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	as := func(p plane, user string, groups ...string) tls.Certificate {
		data, err := p.server.Kubeconfig(user, groups...)
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(data)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	if code, err := get(); err == nil {
		t.Errorf("without a client certificate: %d", code)
	}
	if code, err := get(as(start(t, controlplane.Config{}), "root", "system:masters")); err == nil {
		t.Errorf("an administrator of another control plane: %d", code)
	}
	if code, err := get(as(p, "jane")); err != nil || code != http.StatusForbidden {
		t.Errorf("a user without permission: %d, %v", code, err)
	}
	if code, err := get(as(p, "root", "system:masters")); err != nil || code != http.StatusOK {
		t.Errorf("an administrator: %d, %v", code, err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "kubelets"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get"}, ResourceNames: []string{"node-0"}},
	}}
	if _, err := p.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubelets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubelets"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}},
	}
	if _, err := p.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	jane := as(p, "jane")
	testwait.Until(t, "a user with permission reads logs", func(context.Context) error {
		code, err := get(jane)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("got status %d, want 200", code)
		}
		return err
	})
}

func TestExecIsNotImplemented(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	p.create(t, "pod", "node-0")
	p.untilPhase(t, "pod", corev1.PodRunning)
	for _, verb := range []string{"exec", "attach", "portforward"} {
		request := p.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("pod").SubResource(verb).
			Param("container", "main").Param("command", "ls").Param("stdout", "true")
		data, err := request.DoRaw(t.Context())
		if err == nil || !strings.Contains(err.Error()+string(data), "not simulated") && !strings.Contains(err.Error()+string(data), "pgrade") {
			t.Errorf("%s: %q, %v", verb, data, err)
		}
	}
}
