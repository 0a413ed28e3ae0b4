// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// oldestExternal is the oldest etcd that Kubernetes' storage is tested with. Older ones
// do not report the progress of watches reliably.
var oldestExternal = semver.Version{Major: 3, Minor: 5}

// WaitReachable waits until one of endpoints answers.
func (n *Client) WaitReachable(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(endpoints))
	for _, endpoint := range endpoints {
		go func() {
			status, err := n.status(ctx, endpoint)
			if err == nil {
				err = checkExternal(endpoint, status)
			}
			answers <- err
		}()
	}
	var first error
	reached := false
	for range endpoints {
		err := <-answers
		switch {
		case err == nil:
			reached = true
			cancel()
		case errors.Is(err, errTooOld):
			// It must not be hidden by an endpoint that is new enough.
			first = err
		case first == nil:
			first = err
		}
	}
	if reached && !errors.Is(first, errTooOld) {
		return nil
	}
	if errors.Is(first, errTooOld) {
		return first
	}
	errs := []error{fieldpath.New("", "ExternalConfig.Endpoints", "%w", errdefs.ErrUnreachable)}
	for _, endpoint := range endpoints {
		errs = append(errs, fmt.Errorf("%s: %w", endpoint, n.problemOf(endpoint)))
	}
	return &list{errs}
}

// status waits for the status of one endpoint.
func (n *Client) status(ctx context.Context, endpoint string) (*pb.StatusResponse, error) {
	conn, err := n.client.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
}

var errTooOld = errors.New("etcd is too old")

func checkExternal(endpoint string, status *pb.StatusResponse) error {
	version, err := semver.NewVersion(status.Version)
	if err != nil {
		return fmt.Errorf("%s: its version: %w", endpoint, err)
	}
	if version.LessThan(oldestExternal) {
		return fieldpath.New("", "ExternalConfig.Endpoints", "%s: %w: it is %s, and must be 3.5 or newer", endpoint, errTooOld, version)
	}
	return nil
}

// list joins errors in one line. The first is the subject.
type list struct{ errs []error }

func (l *list) Error() string {
	var text strings.Builder
	text.WriteString(l.errs[0].Error())
	for i, err := range l.errs[1:] {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		text.WriteString(separator + err.Error())
	}
	return text.String()
}

func (l *list) Unwrap() []error { return l.errs }
