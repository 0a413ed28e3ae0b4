// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"net/http"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// The API server and the etcd member of a Server are behind interfaces to speed up the
// compilation of importers. The compiler loads the types of all fields, and the types of
// those two include most of upstream's server. That would double the time to compile a
// small test.

// apiServer is an *apiserver.Server and its internals.
type apiServer interface {
	access.Internals
	ClientConfig() *rest.Config
	ClientConfigAs(user string, groups ...string) (*rest.Config, error)
	InsecureURL() string
	Handler() http.Handler
	ServerName() string
	CABundle() []byte
	Reserve(ctx context.Context, hosts ...string) error
	Reserved(ctx context.Context) ([]string, []netip.Addr, error)
	PublishesAddress() bool
	SetAuthorization(ctx context.Context, c *apiserverv1.AuthorizationConfiguration) error
	WaitForAPIs(ctx context.Context, apis apiserver.APIs) error
	WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error
	WaitForRevokedCertificate(ctx context.Context, secret *corev1.Secret) error
	WaitForRevokedNode(ctx context.Context, node, resourceVersion string) error
	Reencrypt(ctx context.Context) (int, error)
	SetAuthentication(ctx context.Context, c *apiserverv1.AuthenticationConfiguration) error
	Failed() <-chan struct{}
	Err() error
	Stop(ctx context.Context) error
}

// etcdMember is an *etcd.Member.
type etcdMember interface {
	Status() etcd.Status
	CheckSpace() error
	SpaceNeeded() int64
	Usage() (inUse, quota int64)
	OpenSnapshot(ctx context.Context) (*etcd.Snapshot, error)
	Members(ctx context.Context) ([]etcd.ClusterMember, error)
	AddMember(ctx context.Context, name, peerAddr string) (join []string, err error)
	PromoteMember(ctx context.Context, name string) error
	RemoveMember(ctx context.Context, name string) error
}
