// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command kwok is the host of a control plane of separate programs: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, and kwok, which simulates the nodes.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubembed/kubembed/internal/bench/hosts"
)

// unlimited are the rates of a client that is not to be limited.
var unlimited = []string{"--kube-api-qps=5000", "--kube-api-burst=5000"}

func main() {
	p := &plane{}
	flag.StringVar(&p.programs, "programs", "", "directory of kube-scheduler and kwok")
	flag.StringVar(&p.stages, "stages", "", "directory of kwok's stages")
	flag.Parse()
	log.SetLogger(logr.Discard())
	apiserver := p.env.ControlPlane.GetAPIServer().Configure()
	// As on the other sides.
	apiserver.Set("authorization-mode", "Node", "RBAC")
	apiserver.Set("enable-admission-plugins", "NodeRestriction")
	apiserver.Set("disable-admission-plugins", "ServiceAccount", "TaintNodesByCondition")
	os.Exit(hosts.Serve(p))
}

type plane struct {
	programs, stages string
	env              envtest.Environment
	dir              string
	running          []*exec.Cmd
	output           []*bytes.Buffer
}

func (p *plane) Start() (config *rest.Config, kubeconfig []byte, err error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return nil, nil, errors.New("KUBEBUILDER_ASSETS is not set: go run ./internal/bench sets it")
	}
	if config, err = p.env.Start(); err != nil {
		return nil, nil, err
	}
	kubeconfig = p.env.KubeConfig
	if p.dir, err = os.MkdirTemp("", "kwok-"); err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{"kubeconfig": kubeconfig, "ca.crt": config.CAData}
	for name, data := range files {
		if err := os.WriteFile(p.path(name), data, 0o600); err != nil {
			return nil, nil, err
		}
	}
	connect := []string{"--kubeconfig=" + p.path("kubeconfig")}
	component := slices.Concat(connect, unlimited, []string{
		"--authentication-kubeconfig=" + p.path("kubeconfig"), "--authorization-kubeconfig=" + p.path("kubeconfig"),
		"--leader-elect=false", "--secure-port=0",
	})
	manager := append(slices.Clone(component), "--root-ca-file="+p.path("ca.crt"),
		"--service-account-private-key-file="+filepath.Join(p.env.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"))
	err = errors.Join(
		p.run(filepath.Join(assets, "kube-controller-manager"), manager...),
		p.run(filepath.Join(p.programs, "kube-scheduler"), component...),
		p.run(filepath.Join(p.programs, "kwok"), append(connect, p.kwok()...)...),
	)
	return config, kubeconfig, err
}

// kwok returns kwok's arguments: its fast stages, and Leases as kwokctl configures them.
func (p *plane) kwok() []string {
	args := []string{"--manage-all-nodes=true", "--node-lease-duration-seconds=40"}
	for _, stage := range []string{
		"node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease",
		"pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete",
	} {
		args = append(args, "--config="+filepath.Join(p.stages, stage+".yaml"))
	}
	return args
}

func (p *plane) path(name string) string { return filepath.Join(p.dir, name) }

// run starts a program, which Stop ends.
func (p *plane) run(program string, args ...string) error {
	cmd, output := exec.Command(program, args...), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	// kwok looks for a configuration in the home directory.
	cmd.Env = append(os.Environ(), "HOME="+p.dir)
	if err := cmd.Start(); err != nil {
		return err
	}
	p.running, p.output = append(p.running, cmd), append(p.output, output)
	return nil
}

func (p *plane) Do(c hosts.Command) (hosts.Answer, error) {
	return hosts.Answer{}, fmt.Errorf("kwok cannot do %q", c.Do)
}

func (p *plane) Stop() error {
	var errs []error
	for i, cmd := range slices.Backward(p.running) {
		if err := cmd.Process.Kill(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w\n%s", cmd.Path, err, p.output[i]))
		}
		_ = cmd.Wait() // killed
	}
	errs = append(errs, p.env.Stop())
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}
