// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command testserver is the host of kube-apiserver's own in-process test server, with an
// embedded etcd. It speaks the protocol of the bench's package hosts, which this module
// does not import.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
)

func main() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	out := json.NewEncoder(os.Stdout)
	p := &plane{}
	began := time.Now()
	kubeconfig, err := p.start()
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	_ = out.Encode(map[string]any{"Kubeconfig": string(kubeconfig), "Started": time.Since(began), "Error": failure})
	if err != nil {
		p.stop()
		os.Exit(1)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var c struct{ Do string }
		if err := json.Unmarshal(in.Bytes(), &c); err != nil || c.Do != "stop" {
			_ = out.Encode(map[string]any{"Error": fmt.Sprintf("testserver cannot do %q", c.Do)})
			continue
		}
		began := time.Now()
		p.stop()
		_ = out.Encode(map[string]any{"Took": time.Since(began)})
		return
	}
	p.stop()
}

type plane struct {
	dir    string
	etcd   *embed.Etcd
	server apiservertesting.TestServer
	t      *t
}

func (p *plane) start() (kubeconfig []byte, err error) {
	if p.dir, err = os.MkdirTemp("", "testserver-"); err != nil {
		return nil, err
	}
	if err := p.startEtcd(); err != nil {
		return nil, err
	}
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{p.socket().String()}
	p.t = &t{dir: p.dir}
	p.server, err = apiservertesting.StartTestServer(p.t, nil, []string{
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
		"--service-cluster-ip-range=10.0.0.0/24",
	}, storage)
	if err != nil {
		return nil, err
	}
	if err := firstPod(p.server.ClientConfig); err != nil {
		return nil, err
	}
	return kubeconfigOf(p.server.ClientConfig)
}

func (p *plane) socket() *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(p.dir, "etcd.sock")}
}

// startEtcd starts etcd without fsync, as envtest does.
func (p *plane) startEtcd() (err error) {
	config := embed.NewConfig()
	config.Dir = filepath.Join(p.dir, "etcd")
	config.UnsafeNoFsync = true
	config.LogLevel = "fatal"
	config.ListenClientUrls = []url.URL{*p.socket()}
	config.ListenPeerUrls = nil
	if p.etcd, err = embed.StartEtcd(config); err != nil {
		return err
	}
	<-p.etcd.Server.ReadyNotify()
	return nil
}

func (p *plane) stop() {
	if p.server.TearDownFn != nil {
		p.server.TearDownFn()
	}
	if p.t != nil {
		p.t.cleanup()
	}
	if p.etcd != nil {
		p.etcd.Close()
	}
	_ = os.RemoveAll(p.dir)
}

// firstPod creates a pod, as the other hosts do.
func firstPod(config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "first"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example.com/web:v1.2.3"}}},
	}
	_, err = client.CoreV1().Pods(metav1.NamespaceDefault).Create(context.Background(), pod, metav1.CreateOptions{})
	return err
}

func kubeconfigOf(config *rest.Config) ([]byte, error) {
	const name = "testserver"
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData, TLSServerName: config.ServerName}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
}
