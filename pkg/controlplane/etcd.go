// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/overrides"
	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/storage"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// minQuotaBytes is ten times the size of a new control plane's database.
const minQuotaBytes = 2 << 20

// Etcd configures where a control plane keeps its state. There are three ways:
//
//   - A standalone member in this process, without a listener: the zero value.
//   - A member in this process that belongs to a cluster, with Name and PeerAddr. The
//     cluster works as long as more than half of its members run.
//   - An external etcd, with Endpoints.
//
// In the last two, several control planes serve the same objects. They must have the same
// PKI, Encryption, ServiceCIDR and RuntimeConfig, differ by at most one Kubernetes minor
// version, and have clocks that agree within a second or two.
//
// The core controllers, each component and the snapshot schedule then run in one control
// plane at a time, elected by Leases. When that control plane is closed, another takes
// over within about a second. When it is killed, another takes over after 15 to 20
// seconds. The endpoints of the kubernetes Service are the addresses of all running
// control planes, with one port: control planes that do not listen on loopback must use
// the same port. A CRD is established after five seconds, when all control planes know
// it.
//
// A control plane continues to run while its etcd is unavailable. /readyz is red, and
// requests that need etcd fail within seconds. Elected components are stopped after ten
// seconds. All of them resume when etcd is available again.
type Etcd struct {
	// QuotaBytes limits the size of the database of a member in this process, in bytes.
	// When it is reached, writes are refused and /readyz is red until deleted objects
	// have been compacted. At least 2 MiB. If zero, etcd.DefaultQuotaBytes, 8 GiB.
	QuotaBytes int64

	// Endpoints are the client URLs of an external etcd, like "https://10.0.0.1:2379",
	// all http or all https. If empty, etcd runs in this process.
	Endpoints []string
	// CA, Cert and Key are PEM files for https Endpoints: the CA of the servers, the
	// client certificate and its key. They are read for each connection, so that they may
	// be renewed in place. If CA is empty, the CAs of the machine. If Cert and Key are
	// empty, no client certificate.
	CA, Cert, Key string
	// Prefix is the path in etcd below which all objects are stored. Control planes with
	// different prefixes in one etcd do not see each other. It must not change during the
	// life of the data: Start fails on a DataDir with another one. If empty, "/registry",
	// kube-apiserver's default.
	Prefix string

	// Overrides store some resources in other etcds, such as Events in an etcd of their
	// own. If empty, all objects are in one etcd.
	Overrides []EtcdOverride

	// Name is the name of the member in its cluster. It must not change during the life
	// of DataDir, which it requires. If empty, the member is standalone, which must not
	// change either.
	Name string
	// PeerAddr is the IP address and port at which the other members reach this one. The
	// member listens there with mutual TLS, with certificates of PKI. The port must not
	// be 0. It must not change during the life of DataDir. Required with Name.
	PeerAddr string
	// ClientAddr is the IP address and port at which the member serves the control planes
	// of the other members, with mutual TLS. If empty, the address of PeerAddr and a free
	// port. The other members are notified of it through etcd.
	ClientAddr string
	// InitialCluster maps the names of the first members, including this one, to their
	// PeerAddr. All of them start with the same map, and each start waits until more than
	// half run. It has no effect once DataDir has data. Required with Name, unless Join
	// is set.
	InitialCluster map[string]string
	// Join lists the PeerAddr of members of a running cluster to which Server.AddMember
	// has added this member. The member is a learner until it has all data, and then
	// promotes itself. It has no effect once DataDir has data.
	Join []string
}

// EtcdOverride stores resources in another, external etcd, like kube-apiserver's
// --etcd-servers-overrides. Start fails with etcd.ErrUnreachable if it does not answer.
// Objects that are already stored elsewhere are not moved: the control plane does not see
// them any more. Snapshots and checkpoints do not contain these resources: back up that
// etcd with its own tools. Its size does not count for the limits of clients, and nothing
// of it is reserved for administrators.
type EtcdOverride struct {
	// Resources are built-in resources, like "events" and "leases.coordination.k8s.io".
	// Both groups of Events are one resource. Authorization, admission and the control
	// plane itself need some resources, such as namespaces and pods. They cannot be
	// moved. Required.
	Resources []string
	// Endpoints are the client URLs of the etcd, as in Etcd. Objects have the same Prefix
	// there. Required.
	Endpoints []string
	// CA, Cert and Key are PEM files for https Endpoints, as in Etcd.
	CA, Cert, Key string
}

// external returns the configuration of the connection.
func (o EtcdOverride) external() clusterconfig.External {
	return clusterconfig.External{Endpoints: o.Endpoints, CA: o.CA, Cert: o.Cert, Key: o.Key}
}

func validateOverrides(at *field.Path, all []EtcdOverride) (errs field.ErrorList) {
	var validator overrides.Validator
	for i, o := range all {
		errs = append(errs, validator.Validate(at.Index(i).Child("Resources"), o.Resources)...)
		errs = append(errs, o.external().Validate(at.Index(i))...)
	}
	return errs
}

// shared reports whether other control planes may use the same data.
func (e Etcd) shared() bool { return len(e.Endpoints) > 0 || e.Name != "" }

// external reports whether e is an external etcd.
func (e Etcd) external() bool { return len(e.Endpoints) > 0 }

func (e Etcd) clone() Etcd {
	e.Endpoints = slices.Clone(e.Endpoints)
	e.InitialCluster = maps.Clone(e.InitialCluster)
	e.Join = slices.Clone(e.Join)
	e.Overrides = slices.Clone(e.Overrides)
	for i, o := range e.Overrides {
		e.Overrides[i].Resources, e.Overrides[i].Endpoints = slices.Clone(o.Resources), slices.Clone(o.Endpoints)
	}
	if e.Prefix == "" {
		e.Prefix = storage.DefaultPrefix
	}
	return e
}

func (e Etcd) validate(at *field.Path) (errs field.ErrorList) {
	if e.QuotaBytes < 0 || e.QuotaBytes > 0 && e.QuotaBytes < minQuotaBytes {
		errs = append(errs, field.Invalid(at.Child("QuotaBytes"), e.QuotaBytes,
			fmt.Sprintf("must be at least %d, or zero, which is %d", minQuotaBytes, etcd.DefaultQuotaBytes)))
	}
	if e.Prefix != "" && (!strings.HasPrefix(e.Prefix, "/") || path.Clean(e.Prefix) != e.Prefix || e.Prefix == "/") {
		errs = append(errs, field.Invalid(at.Child("Prefix"), e.Prefix, `must be a path like "/registry", without a slash at its end`))
	}
	errs = append(errs, validateOverrides(at.Child("Overrides"), e.Overrides)...)
	if e.external() {
		return append(errs, e.validateExternal(at)...)
	}
	for name, value := range map[string]string{"CA": e.CA, "Cert": e.Cert, "Key": e.Key} {
		if value != "" {
			errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child(name), ""), "only for %s: members in this process use certificates from PKI", fieldpath.NameOf(at.Child("Endpoints"))))
		}
	}
	return append(errs, e.validateCluster(at)...)
}

func (e Etcd) validateExternal(at *field.Path) (errs field.ErrorList) {
	for name, set := range map[string]bool{
		"Name": e.Name != "", "PeerAddr": e.PeerAddr != "", "ClientAddr": e.ClientAddr != "",
		"InitialCluster": len(e.InitialCluster) > 0, "Join": len(e.Join) > 0, "QuotaBytes": e.QuotaBytes != 0,
	} {
		if set {
			errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child(name), ""), "for a member in this process, and %s are for an external etcd: set one of them", fieldpath.NameOf(at.Child("Endpoints"))))
		}
	}
	external := clusterconfig.External{Endpoints: e.Endpoints, CA: e.CA, Cert: e.Cert, Key: e.Key}
	return append(errs, external.Validate(at)...)
}

func (e Etcd) validateCluster(at *field.Path) (errs field.ErrorList) {
	if e.Name == "" {
		for name, set := range map[string]bool{
			"PeerAddr": e.PeerAddr != "", "ClientAddr": e.ClientAddr != "",
			"InitialCluster": len(e.InitialCluster) > 0, "Join": len(e.Join) > 0,
		} {
			if set {
				errs = append(errs, fieldpath.Detail(field.Required(at.Child("Name"), ""), "%s is set: name this member of the cluster", fieldpath.NameOf(at.Child(name))))
			}
		}
		return errs
	}
	return append(errs, (*clusterconfig.Cluster)(e.cluster()).Validate(at)...)
}

// cluster returns the configuration of a cluster's member without its certificates, or
// nil.
func (e Etcd) cluster() *etcd.Cluster {
	if e.Name == "" {
		return nil
	}
	return &etcd.Cluster{
		Name: e.Name, PeerAddr: e.PeerAddr, ClientAddr: e.ClientAddr,
		InitialCluster: e.InitialCluster, Join: e.Join,
	}
}
