package e2e

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
	fakecri "k8s.io/cri-client/pkg/fake"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubemark"
)

// kubeletMain is "kubemark --morph=kubelet --use-host-image-service=false" of
// k8s.io/kubernetes/cmd/kubemark/app, with quicker intervals and no listener.
func kubeletMain(args []string) error {
	flags := flag.NewFlagSet("kubelet", flag.ContinueOnError)
	name := flags.String("name", "", "name of the node")
	kubeconfig := flags.String("kubeconfig", "", "how to reach the control plane")
	rootDir := flags.String("root-dir", "", "folder for all that it stores")
	serve := flags.Bool("serve", false, "serve the kubelet's API: the name must be a loopback address")
	runtimeEndpoint := flags.String("runtime-endpoint", "", "where the fake container runtime listens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := stampVersion(); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()

	kubeletFlags, config := kubemark.GetHollowKubeletConfig(&kubemark.HollowKubeletOptions{NodeName: *name, MaxPods: 110})
	if err := os.RemoveAll(kubeletFlags.RootDirectory); err != nil { // Made in /tmp, whatever TMPDIR says.
		return err
	}
	kubeletFlags.RootDirectory = *rootDir
	kubeletFlags.NodeIP = hostIP()
	config.StaticPodPath = ""
	config.PodLogsDir = filepath.Join(*rootDir, "pod-logs")
	config.EnableServer = false // It would listen on every address.
	config.ResolverConfig = ""  // The file of the host may be missing.
	config.NodeStatusUpdateFrequency.Duration = time.Second
	config.NodeLeaseDurationSeconds = 4 // Renewed every second.
	config.SyncFrequency.Duration = time.Second
	config.VolumeStatsAggPeriod.Duration = -1

	clientConfig, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	clientConfig.ContentType = "application/vnd.kubernetes.protobuf"
	clientConfig.QPS, clientConfig.Burst = 50, 100
	client, err := kubernetes.NewForConfig(clientConfig)
	if err != nil {
		return err
	}
	// As upstream: the lesser of the lease's duration and the status interval.
	clientConfig.Timeout = config.NodeStatusUpdateFrequency.Duration
	clientConfig.QPS = -1
	heartbeat, err := kubernetes.NewForConfig(clientConfig)
	if err != nil {
		return err
	}

	containers := fakecri.NewFakeRemoteRuntime()
	if err := containers.Start(*runtimeEndpoint); err != nil {
		return err
	}
	defer containers.Stop()
	remote, err := cri.NewRemoteRuntimeService(ctx, *runtimeEndpoint, 15*time.Second, noop.NewTracerProvider(), false)
	if err != nil {
		return err
	}
	runtime, err := newStreamingRuntime(remote, *rootDir)
	if err != nil {
		return err
	}

	kubelet := kubemark.NewHollowKubelet(kubeletFlags, config, client, heartbeat,
		&cadvisortest.Fake{NodeName: *name}, containers.ImageService, runtime, cm.NewStubContainerManager())
	if *serve {
		if err := serveAPI(ctx, kubelet, client, clientConfig.CAData, *name, *rootDir); err != nil {
			return err
		}
	}
	if postsEvents() {
		kubelet.KubeletDeps.Recorder = nil // The kubelet makes a real one.
		kubelet.KubeletDeps.EventClient = client.CoreV1()
	}
	go kubelet.Run(ctx) // It never returns.
	<-ctx.Done()
	return nil
}

// serveAPI makes a kubelet serve its API as production does: on port 10250, with a
// certificate of its own making, for clients that its cluster vouches for. It
// takes no listener, so that many on one machine need an address each. A node
// that is called 127.x.y.z has that address, without the checks that any other
// name brings.
func serveAPI(ctx context.Context, kubelet *kubemark.HollowKubelet, client kubernetes.Interface, ca []byte, name, dir string) error {
	caFile := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
		return err
	}
	config := kubelet.KubeletConfiguration
	config.EnableServer = true
	config.Address = name
	config.Port = 10250
	config.Authentication.X509.ClientCAFile = caFile
	config.Authentication.Webhook.Enabled = true
	config.Authentication.Anonymous.Enabled = false
	config.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	kubelet.KubeletFlags.CertDirectory = filepath.Join(dir, "pki")
	tls, err := kubeletapp.InitializeTLS(ctx, kubelet.KubeletFlags, config)
	if err != nil {
		return err
	}
	auth, followCA, err := kubeletapp.BuildAuth(types.NodeName(name), client, *config)
	if err != nil {
		return err
	}
	followCA(ctx.Done())
	kubelet.KubeletDeps.TLSOptions, kubelet.KubeletDeps.Auth = tls, auth
	return nil
}

// postsEvents tells whether kubelets have a real event recorder: with it comes the
// out-of-memory watcher, which ends a kubelet that may not read the kernel's log.
func postsEvents() bool {
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// hostIP is an address that the kubelet accepts as its node's, or "" to let it
// search, which asks DNS.
func hostIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, addr := range addrs {
		if ip, ok := addr.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	return ""
}

// worker is a kubelet that runs as a process of its own.
type worker struct {
	*process
	name     string
	flags    []string
	dir      string // all that it stores
	endpoint string // CRI
}

// startWorker starts the kubelet of a node with the kubeconfig of that node.
func startWorker(t *testing.T, p plane, name string, flags ...string) *worker {
	t.Helper()
	// Not t.TempDir: the path of a unix socket has an end at some 100 characters.
	dir, err := os.MkdirTemp("", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &worker{name: name, flags: flags, dir: dir, endpoint: "unix://" + filepath.Join(dir, "cri.sock")}
	if err := os.WriteFile(w.kubeconfig(), p.nodeKubeconfig(t, name), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	return w
}

func (w *worker) kubeconfig() string { return filepath.Join(w.dir, "kubeconfig.yaml") }

// start starts the kubelet, also again after it was killed. Its fake container
// runtime dies with it and knows nothing of before, as after a reboot.
func (w *worker) start(t *testing.T) {
	t.Helper()
	w.process = startProcess(t, nil, "kubelet", append([]string{"--name=" + w.name, "--kubeconfig=" + w.kubeconfig(),
		"--root-dir=" + w.dir, "--runtime-endpoint=" + w.endpoint}, w.flags...)...)
}

// containers are the names of the running containers, as "crictl ps" has them.
func (w *worker) containers(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	runtime, err := cri.NewRemoteRuntimeService(ctx, w.endpoint, 15*time.Second, noop.NewTracerProvider(), false)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	defer func() { _ = runtime.Close(ctx) }()
	running, err := runtime.ListContainers(ctx, &criv1.ContainerFilter{
		State: &criv1.ContainerStateValue{State: criv1.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	var names []string
	for _, c := range running {
		names = append(names, fmt.Sprintf("%s/%s", c.Labels["io.kubernetes.pod.name"], c.Metadata.Name))
	}
	slices.Sort(names)
	return names
}

// ready tells whether a node has the condition Ready.
func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// running tells whether all containers of a pod run and it has an address.
func running(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" &&
		slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
}
