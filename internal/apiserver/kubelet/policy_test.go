// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubelet_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubembed/kubembed/internal/apiserver/kubelet"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestAllows verifies that loopback addresses are for local nodes only, and that
// endpoints of the control plane are refused in any case.
func TestAllows(t *testing.T) {
	t.Parallel()
	own := netip.MustParseAddrPort("192.0.2.1:6443")
	checkEndpoint := func(at netip.AddrPort) error {
		if at == own {
			return errors.New("an endpoint of the control plane")
		}
		return nil
	}
	for _, test := range []struct {
		local   bool
		address string
		allowed bool
	}{
		{false, "192.0.2.1:10250", true},
		{false, "127.0.0.1:10250", false},
		{true, "127.0.0.1:10250", true},
		{false, own.String(), false},
		{true, own.String(), false},
	} {
		policy := kubelet.NewPolicy(t.Context(), test.local, checkEndpoint, fake.NewClientset(), zap.NewNop())
		if err := policy.Allows(netip.MustParseAddrPort(test.address)); (err == nil) != test.allowed {
			t.Errorf("local %t, %s: got %v, want allowed %t", test.local, test.address, err, test.allowed)
		}
	}
}

// TestCheck verifies that a refusal is an error of the client, a log line and an event.
func TestCheck(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	client := fake.NewClientset()
	policy := kubelet.NewPolicy(t.Context(), false, func(netip.AddrPort) error { return nil }, client, zap.New(core))
	if err := policy.Check(t.Context(), "worker", "192.0.2.1", "10250"); err != nil {
		t.Errorf("got %v, want success", err)
	}
	if err := policy.Check(t.Context(), "worker", "192.0.2.1", "x"); !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), `"x" is not a port`) {
		t.Errorf("an invalid port: got %v, want 503", err)
	}
	if err := policy.Check(t.Context(), "worker", "127.0.0.1", "10250"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a loopback address: got %v, want 503", err)
	}
	if logs.Len() != 2 {
		t.Errorf("got log %v, want two refusals", logs.All())
	}
	testwait.Until(t, "an event about the node", func(ctx context.Context) error {
		events, err := client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range events.Items {
			if event := &events.Items[i]; event.Reason == "KubeletAddressRefused" && event.InvolvedObject.Name == "worker" {
				return nil
			}
		}
		return errors.New("no event")
	})
}
