// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/internal/bench/cluster"
	"github.com/kubembed/kubembed/internal/golden"
)

// controllers runs kube-controller-manager next to the API server, and describes it. Its
// settings are the defaults, except for the key and certificate files, which every
// installation sets.
func controllers(ctx context.Context, env *envtest.Environment, config *rest.Config, assets, dir string) (err error) {
	work, err := os.MkdirTemp("", "golden-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	files, err := cluster.ManagerFlags(work, env, config)
	if err != nil {
		return err
	}
	port, release, err := reserve()
	if err != nil {
		return err
	}
	defer release()
	var output syncBuffer
	cmd := exec.Command(filepath.Join(assets, "kube-controller-manager"), append(files,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port), "--permit-port-sharing", "--cert-dir="+work, "--leader-elect=false",
		"--authorization-always-allow-paths=/healthz,/metrics,/configz")...)
	cmd.Stderr = &output
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	m := manager{fmt.Sprintf("https://127.0.0.1:%d", port)}
	described, err := m.describe(ctx, config)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output.String())
	}
	for line := range strings.Lines(output.String()) {
		if _, rest, found := strings.Cut(line, `is disabled`); found {
			_, name, _ := strings.Cut(rest, `controller="`)
			name, _, _ = strings.Cut(name, `"`)
			described[golden.Checks] = append(described[golden.Checks], name+" off")
		}
	}
	slices.Sort(described[golden.Checks])
	return described.Write(dir)
}

// reserve binds a free port of 127.0.0.1 without listening on it. No other process gets
// the port before release; kube-controller-manager can listen on it, because its flag
// permit-port-sharing sets SO_REUSEPORT as this does.
func reserve() (port int, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	unix.CloseOnExec(fd)
	bind := func() (int, error) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return 0, err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return 0, err
		}
		address, err := unix.Getsockname(fd)
		if err != nil {
			return 0, err
		}
		return address.(*unix.SockaddrInet4).Port, nil
	}
	release = func() { _ = unix.Close(fd) }
	if port, err = bind(); err != nil {
		release()
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	return port, release, nil
}

// manager is a running kube-controller-manager.
type manager struct{ url string }

func (m manager) get(path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // a certificate of its own
	response, err := client.Get(m.url + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return string(body), err
}

func (m manager) describe(ctx context.Context, config *rest.Config) (golden.Lines, error) {
	var health string
	var failure error
	err := wait.PollUntilContextTimeout(ctx, time.Second, 2*time.Minute, true, func(context.Context) (bool, error) {
		health, failure = m.get("/healthz?verbose")
		// They are added after all controllers are made.
		return failure == nil && strings.Contains(health, "deployment-controller"), nil
	})
	if err != nil {
		return nil, errors.Join(err, failure)
	}
	time.Sleep(20 * time.Second) // for the objects that the controllers create
	all, err := golden.Describe(ctx, config)
	if err != nil {
		return nil, err
	}
	metrics, err := m.get("/metrics")
	if err != nil {
		return nil, err
	}
	settings, err := m.get("/configz")
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal([]byte(settings), &tree); err != nil {
		return nil, err
	}
	checks := cut(health, "[+]")
	for i := range checks {
		checks[i] += " on"
	}
	return golden.Lines{
		golden.Objects:  all[golden.Objects],
		golden.Features: golden.FeaturesIn(metrics),
		golden.Checks:   checks,
		golden.Settings: golden.Leaves(tree),
	}, nil
}
