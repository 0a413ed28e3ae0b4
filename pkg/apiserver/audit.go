// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
)

// Audit records requests in a file, through a webhook, and in functions of the host. All
// of them get the events of one policy. Its zero value records none. It is read once, by
// New; a changed policy needs a new server.
//
// Upstream's metrics apiserver_audit_event_total and apiserver_audit_error_total count
// the events of all servers of the process.
type Audit struct {
	// Policy says which requests are recorded, and at which level. Its TypeMeta may be
	// empty. It cannot be set together with PolicyFile. Requests of the control plane
	// itself are recorded too: a first rule with level None and the user system:apiserver
	// leaves out those of the API server. If nil, PolicyFile.
	Policy *auditv1.Policy
	// PolicyFile is the path of an audit.k8s.io/v1 Policy, like kube-apiserver's
	// --audit-policy-file. Other users must not be able to write to it, and unknown
	// fields are errors, where kube-apiserver warns of them. If empty, all requests are
	// recorded at level Metadata, when they are complete, where kube-apiserver records
	// none.
	PolicyFile string

	// Log appends events to a file. If zero, off.
	Log AuditLog
	// Webhook sends events to a server. If zero, off.
	Webhook AuditWebhook

	// Sinks are functions of the host that receive events. If empty, there are none.
	Sinks []AuditSink
}

// AuditLog appends audit events to a file. Its other fields need Path.
type AuditLog struct {
	// Path is the file to which audit events are appended, like kube-apiserver's
	// --audit-log-path. It is created with mode 0600, and missing directories above it
	// with mode 0700. Its directory must belong to the user of the process or to root,
	// and must not be writable by others, except with the sticky bit, like /tmp. If
	// empty, there is no audit log.
	Path string
	// Format is "json" for one JSON object per line, or "legacy" for one line of text
	// without objects of requests and responses, like --audit-log-format. If empty,
	// "json".
	Format string
	// MaxSizeMB is the size in megabytes at which Path, a regular file, is rotated, like
	// --audit-log-maxsize. If zero, it is never rotated.
	MaxSizeMB int
	// MaxBackups is the number of rotated files to keep, like --audit-log-maxbackup: the
	// latest by the time in their names. Names with a time in the future, from when the
	// clock was wrong, are corrected at the start and each minute. If zero, all files are
	// kept. It needs MaxSizeMB.
	MaxBackups int
	// MaxAgeDays is the age in days at which rotated files are deleted, by the time in
	// their names, like --audit-log-maxage. If zero, they are kept. It needs MaxSizeMB.
	MaxAgeDays int
	// Compress compresses rotated files with gzip, like --audit-log-compress. It needs
	// MaxSizeMB.
	Compress bool
	// Delivery is how events come to the file. If zero, each request waits until its
	// events are written, and does not fail if that fails.
	Delivery AuditDelivery
}

// AuditWebhook sends audit events to a server, as POST requests with an EventList.
type AuditWebhook struct {
	// KubeconfigFile is the path of a kubeconfig with the URL and the CA of the webhook,
	// and the credentials of this client, like kube-apiserver's
	// --audit-webhook-config-file. The file must not be writable for others, and not
	// readable for every user if it has credentials. Credentials in files that it names
	// are read again when they change. If empty, there is no webhook.
	KubeconfigFile string
	// InitialBackoff is the time before the first retry of a failed request, like
	// --audit-webhook-initial-backoff. There are four retries, each after one and a half
	// times the time. If zero, ten seconds.
	InitialBackoff time.Duration
	// Delivery is how events come to the webhook. If zero, they are sent in batches, and
	// requests do not wait. A stop waits for the last batches for up to four seconds.
	Delivery AuditDelivery
	// Unthrottled removes the limit of batches per second in mode AuditBatch, like
	// --audit-webhook-batch-throttle-enable=false.
	Unthrottled bool
}

// The modes of AuditDelivery.
const (
	// AuditBatch has events wait in a buffer. If that is full, further events are lost.
	// Upstream's metric apiserver_audit_error_total counts them, with plugin="buffered".
	AuditBatch = genericoptions.ModeBatch
	// AuditBlocking lets each request wait for its events. If they fail, the request does
	// not.
	AuditBlocking = genericoptions.ModeBlocking
	// AuditBlockingStrict is AuditBlocking, but requests fail if their first event, of
	// stage RequestReceived, does. A policy that omits this stage has no such event.
	AuditBlockingStrict = genericoptions.ModeBlockingStrict
)

// AuditDelivery is how events come to the audit log or to the webhook. The comments name
// kube-apiserver's flags for the audit log; those for the webhook begin with
// --audit-webhook.
type AuditDelivery struct {
	// Mode is AuditBatch, AuditBlocking or AuditBlockingStrict, like --audit-log-mode. If
	// empty, AuditBlocking for the log, and AuditBatch for the webhook.
	Mode string

	// BufferSize is the number of events that may wait, like
	// --audit-log-batch-buffer-size. If zero, 10,000. It and the fields up to
	// ThrottleBurst are for mode AuditBatch only.
	BufferSize int
	// MaxBatchSize is the largest number of events in a batch, like
	// --audit-log-batch-max-size. If zero, 1 for the log, and 400 for the webhook.
	MaxBatchSize int
	// MaxBatchWait is the time after which a batch is sent that is not full, like
	// --audit-log-batch-max-wait. If zero, 30 seconds.
	MaxBatchWait time.Duration
	// ThrottleQPS limits the batches per second, and ThrottleBurst those at once, like
	// --audit-log-batch-throttle-qps and --audit-log-batch-throttle-burst. If zero, there
	// is no limit for the log, and 10 and 15 for the webhook.
	ThrottleQPS   float32
	ThrottleBurst int

	// Truncate removes the objects of requests and responses from events that are larger
	// than MaxEventBytes, and drops events that are still too large, like
	// --audit-log-truncate-enabled. Batches of more than MaxBatchBytes are divided. If
	// zero, 100 KiB and 10 MiB. Both need Truncate.
	Truncate                     bool
	MaxEventBytes, MaxBatchBytes int64

	// Version is the API version of the events, like --audit-log-version. If empty,
	// "audit.k8s.io/v1", which is the only one.
	Version string
}

// AuditSink is a function of the host that receives audit events, in their order. It has
// a buffer, so that a request never waits for it, and does not fail for it. Events are
// lost while the buffer is full, if the function returns an error or panics, and if it
// does not return when the server stops. They are counted in the metric
// kubembed_audit_events_dropped_total, by control_plane (the address of the listener) and
// sink. The Logger gets a line with the number and the reason, once a minute at most.
type AuditSink struct {
	// Name is the name of the sink in errors, metrics and the log. Required, and
	// different from the names of the others.
	Name string
	// Events receives one to MaxBatchSize events, which it may keep and change. It is
	// called by one goroutine at a time. When the server stops, it has three seconds to
	// take the rest of the buffer. Then ctx ends, and a second later the server does not
	// wait any longer. Required.
	Events func(ctx context.Context, events []auditv1.Event) error
	// BufferSize is the number of events that wait or that Events has not returned for.
	// If zero, 10,000.
	BufferSize int
	// MaxBatchSize is the largest number of events in a call. If zero, 400, or BufferSize
	// if that is less.
	MaxBatchSize int
	// MaxBatchWait is the time that an event may wait for others in its batch. If zero,
	// one second.
	MaxBatchWait time.Duration
}

// Clone returns a deep copy.
func (a Audit) Clone() Audit {
	a.Policy = a.Policy.DeepCopy()
	a.Sinks = slices.Clone(a.Sinks)
	return a
}

// validate checks d, whose mode is the given one by default.
func (d AuditDelivery) validate(at *field.Path, mode string, truncate genericoptions.AuditTruncateOptions) (errs field.ErrorList) {
	known := slices.Contains(genericoptions.AllowedModes, mode)
	if !known {
		errs = append(errs, field.NotSupported(at.Child("Mode"), d.Mode, genericoptions.AllowedModes))
	}
	for _, n := range []struct {
		name     string
		set      bool
		negative field.ErrorList
	}{
		{"BufferSize", d.BufferSize != 0, notNegative(at.Child("BufferSize"), d.BufferSize)},
		{"MaxBatchSize", d.MaxBatchSize != 0, notNegative(at.Child("MaxBatchSize"), d.MaxBatchSize)},
		{"MaxBatchWait", d.MaxBatchWait != 0, notNegative(at.Child("MaxBatchWait"), d.MaxBatchWait)},
		{"ThrottleQPS", d.ThrottleQPS != 0, notNegative(at.Child("ThrottleQPS"), d.ThrottleQPS)},
		{"ThrottleBurst", d.ThrottleBurst != 0, notNegative(at.Child("ThrottleBurst"), d.ThrottleBurst)},
	} {
		if errs = append(errs, n.negative...); n.set && len(n.negative) == 0 && known && mode != AuditBatch {
			errs = append(errs, field.Forbidden(at.Child(n.name), noEffect(mode)))
		}
	}
	errs = append(errs, notNegative(at.Child("MaxEventBytes"), d.MaxEventBytes)...)
	errs = append(errs, notNegative(at.Child("MaxBatchBytes"), d.MaxBatchBytes)...)
	config := truncate.TruncateConfig
	switch {
	case d.MaxEventBytes < 0 || d.MaxBatchBytes < 0:
	case !d.Truncate && (d.MaxEventBytes > 0 || d.MaxBatchBytes > 0):
		errs = append(errs, field.Required(at.Child("Truncate"), "MaxEventBytes and MaxBatchBytes have no effect without it"))
	case config.MaxBatchSize < config.MaxEventSize:
		errs = append(errs, field.Invalid(at.Child("MaxBatchBytes"), config.MaxBatchSize, fmt.Sprintf("must be at least MaxEventBytes, which is %d", config.MaxEventSize)))
	}
	if version := auditv1.SchemeGroupVersion.String(); d.Version != "" && d.Version != version {
		errs = append(errs, field.NotSupported(at.Child("Version"), d.Version, []string{version}))
	}
	return errs
}

// log returns upstream's options of the audit log.
func (a Audit) log() genericoptions.AuditLogOptions {
	o, l := genericoptions.NewAuditOptions().LogOptions, a.Log
	o.Path, o.MaxSize, o.MaxBackups, o.MaxAge, o.Compress = l.Path, l.MaxSizeMB, l.MaxBackups, l.MaxAgeDays, l.Compress
	setUnlessZero(&o.Format, l.Format)
	o.GroupVersionString = l.Delivery.apply(o.GroupVersionString, &o.BatchOptions, &o.TruncateOptions)
	return o
}

// webhook returns upstream's options of the webhook.
func (a Audit) webhook() genericoptions.AuditWebhookOptions {
	o := genericoptions.NewAuditOptions().WebhookOptions
	o.ConfigFile = a.Webhook.KubeconfigFile
	setUnlessZero(&o.InitialBackoff, a.Webhook.InitialBackoff)
	o.GroupVersionString = a.Webhook.Delivery.apply(o.GroupVersionString, &o.BatchOptions, &o.TruncateOptions)
	if a.Webhook.Unthrottled {
		o.BatchOptions.BatchConfig.ThrottleEnable = false
	}
	return o
}

// apply changes upstream's defaults, and returns the version.
func (d AuditDelivery) apply(version string, batch *genericoptions.AuditBatchOptions, truncate *genericoptions.AuditTruncateOptions) string {
	setUnlessZero(&version, d.Version)
	setUnlessZero(&batch.Mode, d.Mode)
	c := &batch.BatchConfig
	setUnlessZero(&c.BufferSize, d.BufferSize)
	setUnlessZero(&c.MaxBatchSize, d.MaxBatchSize)
	c.MaxBatchWait = defaultAuditBatchWait
	setUnlessZero(&c.MaxBatchWait, d.MaxBatchWait)
	if d.ThrottleQPS > 0 || d.ThrottleBurst > 0 {
		c.ThrottleEnable = true
		webhook := genericoptions.NewAuditOptions().WebhookOptions.BatchOptions.BatchConfig
		c.ThrottleQPS, c.ThrottleBurst = webhook.ThrottleQPS, webhook.ThrottleBurst
		setUnlessZero(&c.ThrottleQPS, d.ThrottleQPS)
		setUnlessZero(&c.ThrottleBurst, d.ThrottleBurst)
	}
	truncate.Enabled = d.Truncate
	setUnlessZero(&truncate.TruncateConfig.MaxEventSize, d.MaxEventBytes)
	setUnlessZero(&truncate.TruncateConfig.MaxBatchSize, d.MaxBatchBytes)
	return version
}

// defaultAuditBatchWait is upstream's for the webhook. Upstream has none for the log,
// whose batches have one event by default.
const defaultAuditBatchWait = 30 * time.Second

func setUnlessZero[T comparable](to *T, value T) {
	var zero T
	if value != zero {
		*to = value
	}
}

// sinks returns the sinks with defaults.
func (a Audit) sinks() (sinks []audit.Sink) {
	for _, s := range a.Sinks {
		sink := audit.Sink{Name: s.Name, Events: s.Events, BufferSize: 10_000, MaxBatchSize: 400, MaxBatchWait: time.Second}
		setUnlessZero(&sink.BufferSize, s.BufferSize)
		setUnlessZero(&sink.MaxBatchSize, s.MaxBatchSize)
		setUnlessZero(&sink.MaxBatchWait, s.MaxBatchWait)
		sink.MaxBatchSize = min(sink.MaxBatchSize, sink.BufferSize)
		sinks = append(sinks, sink)
	}
	return sinks
}

// keepsBackups reports whether rotated files are deleted by the time in their names.
func (a Audit) keepsBackups() bool {
	return a.Log.Path != "" && a.Log.MaxSizeMB > 0 && (a.Log.MaxBackups > 0 || a.Log.MaxAgeDays > 0)
}

// auditOptions returns the options of the server's audit.
func (c Config) auditOptions() audit.Options {
	a := c.Audit
	log := a.log()
	if c.auditStdout {
		log.Path = audit.Stdout
	}
	return audit.Options{
		Log: log, Webhook: a.webhook(), Sinks: a.sinks(), Policy: a.Policy, PolicyFile: a.PolicyFile,
		Dial: utilnet.DialFunc(c.Dialers.ControlPlane), Logger: c.Logger, Server: c.nameInMetrics(),
	}
}

// addFlags adds kube-apiserver's flags for a, unless flagz has them.
func (a Audit) addFlags(flags map[string]string) {
	if a.Log.Path != "" {
		log := a.log()
		flags["audit-log-compress"] = strconv.FormatBool(log.Compress)
		flags["audit-log-format"] = log.Format
		flags["audit-log-maxage"] = strconv.Itoa(log.MaxAge)
		flags["audit-log-mode"] = log.BatchOptions.Mode
		flags["audit-log-truncate-enabled"] = strconv.FormatBool(log.TruncateOptions.Enabled)
	}
	if a.Webhook.KubeconfigFile != "" {
		webhook := a.webhook()
		flags["audit-webhook-config-file"] = webhook.ConfigFile
		flags["audit-webhook-initial-backoff"] = webhook.InitialBackoff.String()
		flags["audit-webhook-mode"] = webhook.BatchOptions.Mode
		flags["audit-webhook-truncate-enabled"] = strconv.FormatBool(webhook.TruncateOptions.Enabled)
	}
}
