package controlplane

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/storage"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// minQuotaBytes is ten times what a control plane begins with.
const minQuotaBytes = 2 << 20

// Etcd says where and how a control plane keeps its state. There are three ways:
//
//   - One member in this process, alone, with no listener: the zero value.
//   - A member in this process that is one of a cluster, with Name and PeerAddr.
//     The cluster stands as long as more than half of its members do.
//   - An etcd elsewhere, with Endpoints.
//
// In the last two several control planes serve the same objects. They must have the
// same PKI and Encryption, ServiceCIDR and RuntimeConfig, be one Kubernetes minor
// version apart at most, and have clocks that agree within a second or two. The core
// controllers, each component and what takes snapshots run in one of them at a time,
// elected by Leases: another takes over within a second or so where one is closed,
// and after 15 to 20 seconds where one has vanished. The endpoints of the kubernetes
// Service are the addresses of all that live, and the port of any: those that are
// not loopback must listen on the same. A definition of custom resources is
// established after five seconds, when all of them know it.
//
// A control plane whose etcd cannot be reached goes on: /readyz is red, requests fail
// within seconds where they need etcd, elected components are stopped after ten, and
// all is as before when etcd is back.
type Etcd struct {
	// QuotaBytes limits the size of the database of a member in this process, in
	// bytes. When it is reached writes are refused and /readyz is red, until what
	// was deleted has been compacted away. If zero, etcd.DefaultQuotaBytes, 8 GiB.
	// At least 2 MiB.
	QuotaBytes int64

	// Endpoints are the client URLs of an etcd elsewhere, like
	// "https://10.0.0.1:2379", all http or all https. If empty, etcd is in this
	// process.
	Endpoints []string
	// CA, Cert and Key are PEM files for https Endpoints: the authority of the
	// servers, and the client certificate and its key. They are read again for each
	// connection, so that they may be renewed in place. If CA is empty, the
	// machine's authorities; if Cert and Key are, no certificate is shown.
	CA, Cert, Key string
	// Prefix is the path below which all is stored, also in a member in this
	// process. Control planes with different prefixes in one etcd do not see each
	// other. It must not change in the life of the data: Start on a DataDir
	// with another one fails. If empty, "/registry", kube-apiserver's default.
	Prefix string

	// Name is that of the member in the cluster. It must not change in the life of
	// DataDir, which it needs. If empty, the member is alone, which does not change in
	// the life of DataDir either.
	Name string
	// PeerAddr is the IP address and port under which the other members reach this
	// one, and where it listens for them with mutual TLS, by certificates of PKI. The
	// port is not 0. It must not change in the life of DataDir. Required with Name.
	PeerAddr string
	// ClientAddr is the IP address and port where it serves the other members'
	// control planes, with mutual TLS too. If empty, the address of PeerAddr and a
	// free port; the others learn of it through etcd.
	ClientAddr string
	// InitialCluster maps the names of the first members, this one among them, to
	// their PeerAddr. All of them are started with the same, and each start waits
	// until more than half are there. It is of no effect once DataDir has data.
	// Required with Name, unless Join is set.
	InitialCluster map[string]string
	// Join lists the PeerAddr of members of a running cluster that has been told of
	// this one by Server.AddMember, which takes part as a learner until it has all
	// data and is promoted, which it sees to itself. It is of no effect once DataDir
	// has data.
	Join []string
}

// shared tells whether other control planes may work on the same data.
func (e Etcd) shared() bool { return len(e.Endpoints) > 0 || e.Name != "" }

// external tells whether etcd is elsewhere.
func (e Etcd) external() bool { return len(e.Endpoints) > 0 }

func (e Etcd) clone() Etcd {
	e.Endpoints = slices.Clone(e.Endpoints)
	e.InitialCluster = maps.Clone(e.InitialCluster)
	e.Join = slices.Clone(e.Join)
	if e.Prefix == "" {
		e.Prefix = storage.DefaultPrefix
	}
	return e
}

func (e Etcd) validate(at *field.Path) (errs field.ErrorList) {
	if e.QuotaBytes < 0 || e.QuotaBytes > 0 && e.QuotaBytes < minQuotaBytes {
		errs = append(errs, field.Invalid(at.Child("QuotaBytes"), e.QuotaBytes,
			fmt.Sprintf("must be at least %d, what a control plane begins with, or zero, which is %d", minQuotaBytes, etcd.DefaultQuotaBytes)))
	}
	if e.Prefix != "" && (!strings.HasPrefix(e.Prefix, "/") || path.Clean(e.Prefix) != e.Prefix || e.Prefix == "/") {
		errs = append(errs, field.Invalid(at.Child("Prefix"), e.Prefix, `must be a path like "/registry", without a slash at its end`))
	}
	if e.external() {
		return append(errs, e.validateExternal(at)...)
	}
	for name, value := range map[string]string{"CA": e.CA, "Cert": e.Cert, "Key": e.Key} {
		if value != "" {
			errs = append(errs, field.Forbidden(at.Child(name), "it is for Endpoints; members in this process take their certificates from PKI"))
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
			errs = append(errs, field.Forbidden(at.Child(name), "it is of a member in this process; Endpoints are of an etcd elsewhere: take out one of them"))
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
				errs = append(errs, field.Required(at.Child("Name"), name+" is set: name this member of the cluster"))
			}
		}
		return errs
	}
	return append(errs, (*clusterconfig.Cluster)(e.cluster()).Validate(at)...)
}

// cluster is what etcd has to know of it, without the certificates, or nil.
func (e Etcd) cluster() *etcd.Cluster {
	if e.Name == "" {
		return nil
	}
	return &etcd.Cluster{
		Name: e.Name, PeerAddr: e.PeerAddr, ClientAddr: e.ClientAddr,
		InitialCluster: e.InitialCluster, Join: e.Join,
	}
}
