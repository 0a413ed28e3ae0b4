// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
)

// failureAnnotation is in the audit events of requests with a failure. Its value has the
// status and the message.
const failureAnnotation = "hostcall.kubembed.io/failure"

func (f *Failure) annotate(ctx context.Context) {
	audit.AddAuditAnnotation(ctx, failureAnnotation, fmt.Sprintf("%d %s", f.Code, f.Message))
}

func annotated(event *auditinternal.Event) (*Failure, bool) {
	status, message, ok := strings.Cut(event.Annotations[failureAnnotation], " ")
	if !ok {
		return nil, false
	}
	code, err := strconv.Atoi(status)
	return &Failure{Code: code, Message: message}, err == nil
}

// audit sets the answer of an event.
func (f *Failure) audit(event *auditinternal.Event) {
	status := f.Status()
	event.ResponseStatus = &status
	if event.ResponseObject != nil {
		object := status
		object.APIVersion, object.Kind = "v1", "Status"
		raw, _ := json.Marshal(object) // a Status has no values that JSON does not have
		event.ResponseObject = &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}
	}
}

// AuditFailures returns a backend whose events have the answers of AnswerFailures: that
// comes after the filters that set the answer of an event. It is nil for nil.
func AuditFailures(next audit.Backend) audit.Backend {
	if next == nil {
		return nil
	}
	return failureAudit{next}
}

type failureAudit struct{ audit.Backend }

// ProcessEvents implements audit.Sink.
func (a failureAudit) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, event := range events {
		if event.ResponseStatus == nil {
			continue
		}
		switch event.ResponseStatus.Code {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError:
			if failure, ok := annotated(event); ok {
				failure.audit(event)
			}
		}
	}
	return a.Backend.ProcessEvents(events...)
}
