// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// AuditEvent is a request in an audit trail: audit.k8s.io/v1 Event, whose Go type is in a
// module that tests of this package need not link.
type AuditEvent struct {
	metav1.TypeMeta

	Level                    string
	AuditID                  types.UID
	Stage                    string
	RequestURI               string
	Verb                     string
	User                     authenticationv1.UserInfo
	ImpersonatedUser         *authenticationv1.UserInfo
	SourceIPs                []string
	UserAgent                string
	ObjectRef                *AuditObjectReference
	ResponseStatus           *metav1.Status
	RequestObject            *runtime.Unknown
	ResponseObject           *runtime.Unknown
	RequestReceivedTimestamp metav1.MicroTime
	StageTimestamp           metav1.MicroTime
	Annotations              map[string]string
}

// AuditObjectReference is the object of a request.
type AuditObjectReference struct {
	Resource, Namespace, Name string
	UID                       types.UID
	APIGroup, APIVersion      string
	ResourceVersion           string
	Subresource               string
}
