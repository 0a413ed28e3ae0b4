// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

func (a Audit) validate(at *field.Path) (errs field.ErrorList) {
	errs = append(errs, a.validatePolicy(at)...)
	errs = append(errs, a.validateLog(at.Child("Log"))...)
	errs = append(errs, a.validateWebhook(at.Child("Webhook"))...)
	return append(errs, a.validateSinks(at.Child("Sinks"))...)
}

func (a Audit) validatePolicy(at *field.Path) (errs field.ErrorList) {
	switch {
	case a.Policy != nil && a.PolicyFile != "":
		errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child("Policy"), ""), "%s is set too: take out one of them", fieldpath.NameOf(at.Child("PolicyFile"))))
	case (a.Policy != nil || a.PolicyFile != "") && a.Log.Path == "" && a.Webhook.KubeconfigFile == "" && len(a.Sinks) == 0:
		set := at.Child("Policy")
		if a.Policy == nil {
			set = at.Child("PolicyFile")
		}
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("Log", "Path"), ""), "%s is set but nothing would be written: set %s",
			fieldpath.NameOf(set), fieldpath.OneOf{
				fieldpath.NameOf(at.Child("Log", "Path")), fieldpath.NameOf(at.Child("Webhook", "KubeconfigFile")), fieldpath.NameOf(at.Child("Sinks")),
			}))
	}
	if a.Policy != nil {
		if err := audit.ValidatePolicy(a.Policy); err != nil {
			errs = append(errs, field.Invalid(at.Child("Policy"), field.OmitValueType{}, err.Error()))
		}
	}
	if a.PolicyFile != "" && len(errs) == 0 {
		if err := audit.CheckPolicyFile(a.PolicyFile); err != nil {
			errs = append(errs, fieldpath.Invalid(at.Child("PolicyFile"), a.PolicyFile, err))
		}
	}
	return errs
}

// validateLogFile checks the file itself.
func (a Audit) validateLogFile(at *field.Path) field.ErrorList {
	if a.Log.Path == "" || a.Log.Path == audit.Stdout {
		return nil
	}
	if err := audit.CheckLog(a.log()); err != nil {
		return field.ErrorList{fieldpath.Invalid(at.Child("Path"), a.Log.Path, err)}
	}
	return nil
}

func (a Audit) validateLog(at *field.Path) (errs field.ErrorList) {
	l := a.Log
	if l.Path == "-" {
		errs = append(errs, field.Invalid(at.Child("Path"), l.Path, "must be a file: standard output is the host's"))
	}
	if l.Format != "" && !slices.Contains(auditlog.AllowedFormats, l.Format) {
		errs = append(errs, field.NotSupported(at.Child("Format"), l.Format, auditlog.AllowedFormats))
	}
	errs = append(errs, notNegative(at.Child("MaxSizeMB"), l.MaxSizeMB)...)
	errs = append(errs, notNegative(at.Child("MaxBackups"), l.MaxBackups)...)
	errs = append(errs, notNegative(at.Child("MaxAgeDays"), l.MaxAgeDays)...)
	if l.Path == "" {
		if l != (AuditLog{}) {
			errs = append(errs, field.Required(at.Child("Path"), "the other fields have no effect without it"))
		}
		return errs
	}
	if l.MaxSizeMB == 0 && (l.MaxBackups > 0 || l.MaxAgeDays > 0 || l.Compress) {
		errs = append(errs, field.Required(at.Child("MaxSizeMB"), "MaxBackups, MaxAgeDays and Compress have no effect without it"))
	}
	o := a.log()
	return append(errs, l.Delivery.validate(at.Child("Delivery"), o.BatchOptions.Mode, o.TruncateOptions)...)
}

func (a Audit) validateWebhook(at *field.Path) (errs field.ErrorList) {
	w := a.Webhook
	if w.KubeconfigFile == "" {
		if w != (AuditWebhook{}) {
			errs = append(errs, field.Required(at.Child("KubeconfigFile"), "the other fields have no effect without it"))
		}
		return errs
	}
	if _, err := kubeconfig.Read(w.KubeconfigFile); err != nil {
		errs = append(errs, fieldpath.Invalid(at.Child("KubeconfigFile"), w.KubeconfigFile, err))
	}
	if w.InitialBackoff < 0 {
		errs = append(errs, field.Invalid(at.Child("InitialBackoff"), w.InitialBackoff.String(), "must not be negative; zero is ten seconds"))
	}
	o := a.webhook()
	switch {
	case !w.Unthrottled:
	case o.BatchOptions.Mode != AuditBatch:
		errs = append(errs, field.Forbidden(at.Child("Unthrottled"), noEffect(o.BatchOptions.Mode)))
	case w.Delivery.ThrottleQPS != 0 || w.Delivery.ThrottleBurst != 0:
		errs = append(errs, field.Forbidden(at.Child("Unthrottled"), "ThrottleQPS or ThrottleBurst is set too: take out one of them"))
	}
	return append(errs, w.Delivery.validate(at.Child("Delivery"), o.BatchOptions.Mode, o.TruncateOptions)...)
}

// noEffect is the message about a field that only AuditBatch has.
func noEffect(mode string) string {
	return fmt.Sprintf("has no effect in mode %s: take it out, or set Mode to %s", mode, AuditBatch)
}

func (a Audit) validateSinks(at *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	for i, sink := range a.Sinks {
		at := at.Index(i)
		switch {
		case strings.TrimSpace(sink.Name) == "":
			errs = append(errs, field.Required(at.Child("Name"), "the name of the sink in errors, metrics and the log"))
		case names[sink.Name]:
			errs = append(errs, field.Duplicate(at.Child("Name"), sink.Name))
		}
		names[sink.Name] = true
		if sink.Events == nil {
			errs = append(errs, field.Required(at.Child("Events"), fmt.Sprintf("the function of sink %q that receives events", sink.Name)))
		}
		errs = append(errs, notNegative(at.Child("BufferSize"), sink.BufferSize)...)
		errs = append(errs, notNegative(at.Child("MaxBatchSize"), sink.MaxBatchSize)...)
		errs = append(errs, notNegative(at.Child("MaxBatchWait"), sink.MaxBatchWait)...)
	}
	return errs
}

// notNegative refuses negative values.
func notNegative[N int | int64 | float32 | time.Duration](at *field.Path, value N) field.ErrorList {
	if value >= 0 {
		return nil
	}
	shown := any(value)
	if duration, ok := shown.(time.Duration); ok {
		shown = duration.String()
	}
	return field.ErrorList{field.Invalid(at, shown, "must not be negative; zero is the default")}
}
