// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package protocol has the requests and answers between tests and the program that keeps
// control planes ready: JSON over HTTP over a Unix socket.
//
// A test leases a control plane with a POST to PathLeases. The answer is a stream of
// Events, one on a line, and the first one is the Lease. The lease ends when the
// connection does. All other calls are a POST to PathLeases/ID/NAME, with a
// request and an answer of this package.
package protocol

import "time"

// Version is the version of the protocol. A client and a program of different versions do
// not work together: each names its own in the header HeaderVersion.
const Version = "1"

// The header and the paths of requests.
const (
	HeaderVersion = "Kubembed-Protocol"

	PathLeases = "/leases"
	PathStatus = "/status"
	PathStop   = "/stop"
)

// Owner is the process that leases a control plane, for Status.
type Owner struct {
	PID int
	// Test is the name of the test, and Directory that of the package under test.
	Test, Directory string
}

// LeaseRequest asks for a control plane.
type LeaseRequest struct {
	Owner   Owner
	Options Options
}

// Options are the fields of controlplane.Config that a process can pass on.
type Options struct {
	Audit bool

	ServiceCIDR                                     string            `json:",omitempty"`
	RuntimeConfig                                   map[string]string `json:",omitempty"`
	EnableAdmissionPlugins, DisableAdmissionPlugins []string          `json:",omitempty"`
	DisableCoreControllers                          bool              `json:",omitempty"`
	MaxRequestsInFlight                             int               `json:",omitempty"`
	MaxMutatingRequestsInFlight                     int               `json:",omitempty"`
	RequestTimeout                                  time.Duration     `json:",omitempty"`
	EventTTL                                        time.Duration     `json:",omitempty"`
	ClusterSigningDuration                          time.Duration     `json:",omitempty"`
	// Components are names: see Scheduler, Controllers and HollowNodes.
	Components []string `json:",omitempty"`
	// Nodes is the number of HollowNodes.
	Nodes int `json:",omitempty"`
}

// The names of components.
const (
	Scheduler   = "scheduler"
	Controllers = "controllers"
	HollowNodes = "hollownodes"
)

// Event is a line of the answer to a LeaseRequest. One of its fields is set.
type Event struct {
	Lease *Lease `json:",omitempty"`
	// Ended is the reason why the control plane stopped by itself, or the program
	// stops. It is the last event.
	Ended string `json:",omitempty"`
	// Refused is the reason why there is no lease. It is the only event.
	Refused string `json:",omitempty"`
}

// Lease is a control plane that belongs to the connection.
type Lease struct {
	// ID is in the paths of calls. Nobody can guess it.
	ID string
	// URL is the address of the API server, and CABundle are the certificates that
	// verify it.
	URL      string
	CABundle []byte
	// Token is that of an administrator: user kubernetes-admin, group system:masters. It
	// ends with the lease.
	Token string
	// AuditPath is the audit log, or empty. The program removes it at the end.
	AuditPath string `json:",omitempty"`
}

// LogEntry is an entry of a log.
type LogEntry struct {
	Time time.Time
	Text string
}

// Names of calls, and their requests and answers. A call that fails answers with status
// 400 or higher and an Error.
const (
	CallKubeconfig             = "kubeconfig"               // KubeconfigRequest, Data
	CallNodeKubeconfig         = "node-kubeconfig"          // NodeRequest, Data
	CallJoinKubeconfig         = "join-kubeconfig"          // JoinRequest, Data
	CallRevokeKubeconfig       = "revoke-kubeconfig"        // Data, Nothing
	CallRevokeJoinKubeconfig   = "revoke-join-kubeconfig"   // Data, Nothing
	CallRevokeNode             = "revoke-node"              // NodeRequest, Nothing
	CallServingCertificate     = "serving-certificate"      // CertificateRequest, KeyPair
	CallNodeServingCertificate = "node-serving-certificate" // CertificateRequest, KeyPair
	CallWaitForInformers       = "wait-for-informers"       // InformersRequest, Nothing
	CallCheckpoint             = "checkpoint"               // Nothing, Checkpoint
	CallRollback               = "rollback"                 // Checkpoint, Nothing
	CallSnapshot               = "snapshot"                 // Nothing, the bytes of the snapshot
	CallLog                    = "log"                      // LogRequest, Log
)

// Error is the answer of a call that fails.
type Error struct{ Message string }

// Nothing is a request or an answer without content.
type Nothing struct{}

// Data is a file: a kubeconfig, or certificates in PEM.
type Data struct{ Data []byte }

// KubeconfigRequest asks for the kubeconfig of a user.
type KubeconfigRequest struct {
	User   string
	Groups []string
}

// NodeRequest names a node.
type NodeRequest struct{ Name string }

// JoinRequest asks for a kubeconfig with which nodes join.
type JoinRequest struct{ Lifetime time.Duration }

// CertificateRequest asks for the serving certificate of hosts, or of a node's kubelet.
type CertificateRequest struct {
	Node  string `json:",omitempty"`
	Hosts []string
}

// KeyPair is a certificate and its key, in PEM.
type KeyPair struct{ Cert, Key []byte }

// InformersRequest waits until informers have seen a version of a resource.
type InformersRequest struct{ Group, Resource, ResourceVersion string }

// Checkpoint is a checkpoint that the program keeps until the end of the lease.
type Checkpoint struct{ ID int64 }

// LogRequest asks for the entries since an entry of the lease. The first is 0.
type LogRequest struct{ From int }

// Log are entries of the control plane's log. First is the number of the first one: the
// program keeps the last MiB.
type Log struct {
	First   int
	Entries []LogEntry
}

// Status describes the program.
type Status struct {
	PID           int
	Version       string // of the program's module
	Kubernetes    string
	Since         time.Time
	Memory, Live  uint64 // of Go and of its live objects, in bytes
	Goroutines    int
	ControlPlanes []ControlPlane
}

// ControlPlane is a control plane of the program.
type ControlPlane struct {
	State string
	// Since is when it started, or when the lease began.
	Since  time.Time
	Leases int // so far
	URL    string
	Owner  *Owner `json:",omitempty"` // of the lease
}

// States of a control plane.
const (
	StateComing = "coming" // it starts, or is reset
	StateReady  = "ready"
	StateLeased = "leased"
)
