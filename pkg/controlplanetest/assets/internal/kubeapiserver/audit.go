// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"time"

	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// auditStdout is the --audit-log-path of standard output, which is not rotated.
const auditStdout = "-"

// audit treats the audit flags like kube-apiserver: "-" is standard output, a policy
// without a log or a webhook has no effect, and without a policy nothing is recorded.
func (f *completed) audit() apiserver.Audit {
	log, webhook := f.Audit.LogOptions, f.Audit.WebhookOptions
	if f.Audit.PolicyFile == "" || log.Path == "" && webhook.ConfigFile == "" {
		return apiserver.Audit{}
	}
	a := apiserver.Audit{PolicyFile: f.Audit.PolicyFile}
	if log.Path != "" {
		a.Log = apiserver.AuditLog{
			Path: log.Path, Format: log.Format,
			MaxSizeMB: log.MaxSize, MaxBackups: log.MaxBackups, MaxAgeDays: log.MaxAge, Compress: log.Compress,
			Delivery: delivery(log.BatchOptions, log.TruncateOptions, log.GroupVersionString),
		}
		if a.Log.Path == auditStdout {
			a.Log.Path, a.Log.MaxSizeMB = "/dev/stdout", 0 // see config
		}
		if a.Log.MaxSizeMB == 0 { // they have no effect, and are not accepted
			a.Log.MaxBackups, a.Log.MaxAgeDays, a.Log.Compress = 0, 0, false
		}
	}
	if webhook.ConfigFile != "" {
		a.Webhook = apiserver.AuditWebhook{
			KubeconfigFile: webhook.ConfigFile,
			InitialBackoff: webhook.InitialBackoff,
			Delivery:       delivery(webhook.BatchOptions, webhook.TruncateOptions, webhook.GroupVersionString),
		}
		a.Webhook.Unthrottled = webhook.BatchOptions.Mode == genericoptions.ModeBatch && !webhook.BatchOptions.BatchConfig.ThrottleEnable
	}
	return a
}

// delivery leaves out settings that have no effect in the mode.
func delivery(batch genericoptions.AuditBatchOptions, truncate genericoptions.AuditTruncateOptions, version string) apiserver.AuditDelivery {
	d := apiserver.AuditDelivery{Mode: batch.Mode, Version: version}
	if c := batch.BatchConfig; batch.Mode == genericoptions.ModeBatch {
		d.BufferSize, d.MaxBatchSize, d.MaxBatchWait = c.BufferSize, c.MaxBatchSize, max(c.MaxBatchWait, time.Nanosecond)
		if c.ThrottleEnable {
			d.ThrottleQPS, d.ThrottleBurst = c.ThrottleQPS, c.ThrottleBurst
		}
	}
	if truncate.Enabled {
		d.Truncate, d.MaxEventBytes, d.MaxBatchBytes = true, truncate.TruncateConfig.MaxEventSize, truncate.TruncateConfig.MaxBatchSize
	}
	return d
}
