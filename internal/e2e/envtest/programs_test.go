// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/pki"
)

// waitTimeout bounds every wait of these tests.
const waitTimeout = 2 * time.Minute

// program is a running program with its output.
type program struct {
	cmd    *exec.Cmd
	output output
	ended  chan struct{}
	err    error
	temp   string // TMPDIR of the program
}

// output is the output of a program so far.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(filepath.Join(assets(t), name), args...), ended: make(chan struct{}), temp: t.TempDir()}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.temp)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.output.String())
		}
	})
	return p
}

// wait waits for the end of the program, and returns its exit code.
func (p *program) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(waitTimeout):
		t.Fatal("the program does not end")
		return 0
	}
}

// cluster is a cluster like envtest's: both programs, started with its flags.
type cluster struct {
	etcd, apiserver  *program
	serving, clients *pki.PKI // two CAs, as in envtest
	trust            []byte   // the CA of serving
	url              string
}

func startCluster(t *testing.T, more ...string) *cluster {
	t.Helper()
	c := &cluster{}
	var err error
	if c.serving, err = pki.Open(pki.Config{}); err != nil {
		t.Fatal(err)
	}
	if c.clients, err = pki.Open(pki.Config{}); err != nil {
		t.Fatal(err)
	}
	c.trust = c.serving.CABundle()
	etcd, peer := freeAddress(t), freeAddress(t)
	c.etcd = start(t, "etcd", "--advertise-client-urls=http://"+etcd, "--data-dir="+t.TempDir(),
		"--listen-client-urls=http://"+etcd, "--listen-peer-urls=http://"+peer, "--unsafe-no-fsync=true")
	healthy(t, c.etcd, "http://"+etcd+"/health", http.DefaultClient)

	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("apiserver.crt", c.serving.Serving().Cert)
	write("apiserver.key", c.serving.Serving().Key)
	// envtest passes the public key as a certificate. Any certificate with the key will
	// do.
	signer, err := c.serving.IssueClient("sa-signer", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(freeAddress(t))
	c.url = "https://" + net.JoinHostPort(host, port)
	c.apiserver = start(t, "kube-apiserver", append([]string{
		"--allow-privileged=true", "--authorization-mode=RBAC", "--bind-address=" + host, "--cert-dir=" + dir,
		"--client-ca-file=" + write("client-cert-auth-ca.crt", c.clients.CABundle()), "--disable-admission-plugins=ServiceAccount",
		"--etcd-servers=http://" + etcd, "--secure-port=" + port, "--service-account-issuer=" + c.url + "/",
		"--service-account-key-file=" + write("sa-signer.crt", signer.Cert), "--service-account-signing-key-file=" + write("sa-signer.key", signer.Key),
		"--service-cluster-ip-range=10.0.0.0/24",
	}, more...)...)
	client, err := rest.HTTPClientFor(&rest.Config{Host: c.url, TLSClientConfig: rest.TLSClientConfig{CAData: c.serving.CABundle()}})
	if err != nil {
		t.Fatal(err)
	}
	healthy(t, c.apiserver, c.url+"/healthz", client)
	return c
}

// freeAddress returns an address that was free a moment ago. The programs take a port
// number and no listener, and envtest finds one like this.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// healthy waits for the health endpoint, like envtest.
func healthy(t *testing.T, p *program, url string, client *http.Client) {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, url, func(ctx context.Context) error {
		select {
		case <-p.ended:
			t.Fatalf("%s: the program has ended: %v", url, p.err)
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// client returns a client with a certificate of the CA for clients.
func (c *cluster) client(t *testing.T, user string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	pair, err := c.clients.IssueClient(user, groups, 0)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: c.url, TLSClientConfig: rest.TLSClientConfig{
		CAData: c.serving.CABundle(), CertData: pair.Cert, KeyData: pair.Key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// The programs behave like envtest's cluster.
func TestProgramsTakeWhatEnvtestGives(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	ctx := t.Context()
	admin := c.client(t, "admin", "system:masters")

	// Pods need no service account, and privileged ones are allowed.
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "one", Image: "one", SecurityContext: &corev1.SecurityContext{Privileged: &yes}},
	}}}
	if _, err := admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	// RBAC decides for other users.
	if _, err := c.client(t, "jane").CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("jane lists pods: %v", err)
	}
	// Services have addresses of the range. This one is created when the server is
	// ready.
	testwait.UntilWithin(t, waitTimeout, "the Service kubernetes has address 10.0.0.1", func(ctx context.Context) error {
		service, err := admin.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err == nil && service.Spec.ClusterIP != "10.0.0.1" {
			err = fmt.Errorf("got %q", service.Spec.ClusterIP)
		}
		return err
	})
	// Nodes get the taint that kube-apiserver adds.
	node, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{})
	if err != nil || len(node.Spec.Taints) != 1 {
		t.Errorf("a new node: %v, %v", node, err)
	}
	// Tokens are signed and verified with the keys of the flags.
	account, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := kubernetes.NewForConfig(&rest.Config{Host: c.url, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: c.serving.CABundle()}})
	if err != nil {
		t.Fatal(err)
	}
	review, err := bearer.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username != "system:serviceaccount:default:one" {
		t.Errorf("the token is of %v, %v", review, err)
	}
	// etcd does not log fast requests.
	if log := c.etcd.output.String(); strings.Contains(log, "request stats") {
		t.Errorf("etcd logs each request:\n%.1000s", log)
	}
	// No controllers run.
	if _, err := admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the service account default: %v", err)
	}
}

// A stop waits only for requests in flight, exits with 0, and leaves no file.
func TestProgramsStop(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	watch, err := c.client(t, "admin", "system:masters").CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for _, p := range []*program{c.apiserver, c.etcd} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(t); code != 0 {
			t.Errorf("%s: exit code %d", p.cmd.Path, code)
		}
		if left, err := os.ReadDir(p.temp); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", p.cmd.Path, left, err)
		}
	}
}

// A suite that crashes leaves no process behind.
func TestProgramsEndWithTheirParent(t *testing.T) {
	t.Parallel()
	client, peer := freeAddress(t), freeAddress(t)
	parent := exec.Command("sh", "-c", `"$0" "$@" & read line`, filepath.Join(assets(t), "etcd"), "--data-dir="+t.TempDir(),
		"--advertise-client-urls=http://"+client, "--listen-client-urls=http://"+client, "--listen-peer-urls=http://"+peer, "--unsafe-no-fsync")
	stdin, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	healthy(t, &program{}, "http://"+client+"/health", http.DefaultClient)
	stdin.Close()
	if err := parent.Wait(); err != nil && parent.ProcessState.ExitCode() != 1 { // of read at the end of stdin
		t.Fatal(err)
	}
	testwait.UntilWithin(t, waitTimeout, "etcd ends with its parent", func(context.Context) error {
		listener, err := net.Listen("tcp", client)
		if err == nil {
			listener.Close()
		}
		return err
	})
}

func TestCoreControllers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, "--core-controllers")
	ctx := t.Context()
	namespaces := c.client(t, "admin", "system:masters").CoreV1().Namespaces()
	if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.UntilWithin(t, waitTimeout, "the namespace is gone", func(ctx context.Context) error {
		_, err := namespaces.Get(ctx, "one", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("got %v, want not found", err)
		}
		return nil
	})
	if err := c.apiserver.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.apiserver.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A failed start prints the reason, and exits with another code than 0.
func TestProgramsRefuse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	_, free, _ := net.SplitHostPort(freeAddress(t))
	dir := t.TempDir() // with the self-signed certificate of all
	missing := filepath.Join(t.TempDir(), "missing.crt")
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"kube-apiserver", []string{"--no-such-flag"}, "unknown flag: --no-such-flag"},
		{"kube-apiserver", []string{"--cert-dir=" + dir}, "--etcd-servers must be specified"},
		{"kube-apiserver", []string{"--cert-dir=" + dir, "--etcd-servers=http://127.0.0.1:1", "--feature-gates=NoSuchGate=true"}, "NoSuchGate"},
		{"kube-apiserver", []string{"--cert-dir=" + dir, "--etcd-servers=http://127.0.0.1:1", "--client-ca-file=" + missing}, "--client-ca-file: open " + missing},
		{"kube-apiserver", []string{"--cert-dir=" + dir, "--etcd-servers=http://127.0.0.1:1", "--tls-cert-file=" + missing}, "--tls-private-key-file"},
		{"kube-apiserver", []string{"--cert-dir=" + dir, "--etcd-servers=http://127.0.0.1:1", "--bind-address=127.0.0.1", "--secure-port=" + port}, "address already in use"},
		{"kube-apiserver", []string{"--cert-dir=" + dir, "--etcd-servers=http://127.0.0.1:1", "--bind-address=127.0.0.1", "--secure-port=" + free}, "--etcd-servers=http://127.0.0.1:1: etcd did not answer"},
		{"etcd", []string{"--no-such-flag"}, "no-such-flag"},
		{"etcd", []string{"word"}, `"word" is not a flag`},
		{"etcd", []string{"--host-whitelist=example.com"}, "--host-whitelist is not supported"},
		{"etcd", []string{"--max-concurrent-streams=5"}, "--max-concurrent-streams is not supported"},
		{"etcd", []string{"--listen-client-urls=nonsense"}, "listen-client-urls"},
	} {
		t.Run(test.name+" "+strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			p := start(t, test.name, test.args...)
			if code := p.wait(t); code == 0 || !strings.Contains(p.output.String(), test.want) {
				t.Errorf("exit code %d, and not %q:\n%s", code, test.want, p.output.String())
			}
		})
	}
}
