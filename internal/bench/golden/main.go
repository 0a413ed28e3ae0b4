// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// The program golden records kube-apiserver and kube-controller-manager for tests of
// pkg/apiserver, pkg/controlplane and internal/e2e: the names that monitors use (metrics,
// health checks and paths), and the APIs, features, admission plugins, controllers and
// objects that exist by default. It runs the real programs. A run of internal/bench
// leaves them in the user's cache, in the directory that it prints:
//
//	go run ./internal/bench/golden -assets ~/.cache/kubembed-bench/peers-v1.37.2-v3.7.3
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/internal/golden"
)

func main() {
	assets := flag.String("assets", "", "directory of kube-apiserver and etcd")
	out := flag.String("out", filepath.Join("pkg", "apiserver", "testdata"), "directory to write to")
	flag.Parse()
	if err := run(context.Background(), *assets, *out); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, assets, out string) (err error) {
	env := &envtest.Environment{BinaryAssetsDirectory: assets}
	flags := env.ControlPlane.GetAPIServer().Configure()
	flags.Set("authorization-mode", "Node,RBAC").Disable("disable-admission-plugins")
	// Without it upstream keeps no endpoints, and has no metrics of them.
	flags.Set("advertise-address", "192.0.2.1").Set("endpoint-reconciler-type", "lease")
	var output syncBuffer
	env.ControlPlane.GetAPIServer().Err = &output
	config, err := env.Start()
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := env.Stop(); err == nil {
			err = stopErr
		}
	}()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // for the objects that upstream creates in the background
	described, err := golden.Describe(ctx, config)
	if err != nil {
		return err
	}
	described[golden.Admission] = golden.AdmissionIn(output.String())
	if err := use(ctx, client); err != nil {
		return err
	}
	get := func(path string) (string, error) {
		data, err := client.RESTClient().Get().RequestURI(path).DoRaw(ctx)
		return string(data), err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	dir := filepath.Join(out, "kube-apiserver-"+version.GitVersion)
	if strings.HasPrefix(version.GitVersion, "v0.0.0") { // a build without stamps
		dir = filepath.Join(out, "kube-apiserver-"+strings.Split(strings.TrimPrefix(filepath.Base(assets), "peers-"), "-")[0])
	}
	if err := described.Write(dir); err != nil {
		return err
	}
	for _, endpoint := range []string{"readyz", "livez", "healthz"} {
		body, err := get("/" + endpoint + "?verbose")
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, endpoint), cut(body, "[+]")); err != nil {
			return err
		}
	}
	metrics, err := get("/metrics")
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(cut(metrics, "# TYPE "), func(name string) bool { return slices.Contains(hidden, name) })
	if err := write(filepath.Join(dir, "metrics"), names); err != nil {
		return err
	}
	index, err := get("/")
	if err != nil {
		return err
	}
	var list struct{ Paths []string }
	if err := json.Unmarshal([]byte(index), &list); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "paths"), list.Paths); err != nil {
		return err
	}
	if err := startAudit(assets, dir); err != nil {
		return err
	}
	return controllers(ctx, env, config, assets, strings.Replace(dir, "kube-apiserver-", "kube-controller-manager-", 1))
}

// syncBuffer is written to by a program and read while the program runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(data)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// hidden are deprecated metrics, which only builds without a version show.
var hidden = []string{"apiserver_storage_db_total_size_in_bytes"}

// use sends the requests that give all metrics a value.
func use(ctx context.Context, client *kubernetes.Clientset) error {
	if _, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, "any", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}
	if _, err := client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{}); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // for upstream's work in the background
	return client.CoreV1().ServiceAccounts("default").Delete(ctx, "any", metav1.DeleteOptions{})
}

// cut returns the second words of the lines that begin with prefix.
func cut(text, prefix string) (words []string) {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, prefix); found {
			words = append(words, strings.Fields(rest)[0])
		}
	}
	return words
}

func write(path string, words []string) error {
	slices.Sort(words)
	fmt.Fprintln(os.Stderr, path, len(words))
	return os.WriteFile(path, []byte(strings.Join(slices.Compact(words), "\n")+"\n"), 0o644) //nolint:gosec // for all who read the source
}
