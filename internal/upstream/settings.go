// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

const auditBuffered = "k8s.io/apiserver/plugin/pkg/audit/buffered"

// settingEntries are for audit, limits and storage of Config.
var settingEntries = []Entry{
	{
		Ours: "internal/apiserver/audit/sink.go:external", Package: auditBuffered, Decl: "(*bufferedBackend).ProcessEvents",
		Has:  []string{"event := e.DeepCopy()", "b.buffer <- event"},
		Look: "Sinks may keep and change events, because the buffer has copies of them.",
	},
	{
		Ours: "internal/apiserver/audit/sink.go:delivery", Package: auditBuffered, Decl: "(*bufferedBackend).processEvents",
		Has:  []string{"if b.asyncDelegate {", "} else {", "b.delegateBackend.ProcessEvents(events...)"},
		Look: "A sink is called by one goroutine at a time, because the backend is not asynchronous.",
	},
	{
		Ours: "internal/apiserver/limits/bodies.go:MaxPatchOperations", Package: "k8s.io/apiserver/pkg/endpoints/handlers", Decl: "maxJSONPatchOperations",
		Has:  []string{"10000"},
		Look: "MaxPatchOperations is the same number: a higher limit would have no effect.",
	},
	{
		Ours: "internal/apiserver/overrides/overrides.go:events", Package: "k8s.io/apiserver/pkg/server/storage", Decl: "(*DefaultStorageFactory).NewConfig",
		Has:  []string{"storageConfig.ForResource(groupResource)"},
		Look: "Storages have the resource that was asked for: both groups of Events must be in the same etcd.",
	},
	{
		Ours: "internal/apiserver/audit/rotation.go:compressed", Package: "gopkg.in/natefinch/lumberjack.v2", Decl: "compressSuffix",
		Has:  []string{`".gz"`},
		Look: "Names of compressed audit logs end with it: else those from the future push out new ones.",
	},
	{
		Ours: "internal/apiserver/audit/logfile.go:writerOf", Package: "k8s.io/apiserver/plugin/pkg/audit/log", Decl: "backend",
		Has: []string{"out io.Writer"}, Test: "pkg/apiserver:TestAuditLogIsClosed",
		Look: "A stop finds the file of the audit log by this field: else the file stays open.",
	},
	{
		Ours: "internal/apiserver/audit/logfile.go:writerOf", Package: auditBuffered, Decl: "bufferedBackend",
		Has: []string{"delegateBackend audit.Backend"}, Test: "pkg/apiserver:TestAuditLogIsClosed",
		Look: "A stop finds the file of the audit log by this field: else the file stays open.",
	},
	{
		Ours: "internal/apiserver/audit/logfile.go:writerOf", Package: "k8s.io/apiserver/plugin/pkg/audit/truncate", Decl: "backend",
		Has: []string{"delegateBackend audit.Backend"}, Test: "pkg/apiserver:TestAuditLogIsClosed",
		Look: "A stop finds the file of the audit log by this field: else the file stays open.",
	},
	{
		Ours: "internal/apiserver/audit/logfile.go:writerOf", Package: "k8s.io/apiserver/pkg/server/options", Decl: "ignoreErrorsBackend",
		Has: []string{"audit.Backend"}, Test: "pkg/apiserver:TestAuditLogIsClosed",
		Look: "A stop finds the file of the audit log by this field: else the file stays open.",
	},
	{
		Ours: "internal/apiserver/audit/logfile.go:(*LogFile).Close", Package: "gopkg.in/natefinch/lumberjack.v2", Decl: "millCh",
		Users: []string{"(*Logger).millRun", "(*Logger).mill"}, Test: "pkg/apiserver:TestAuditLogIsClosed",
		Look: "A stop closes this channel after the last write, so that lumberjack's goroutine ends: else it stays, or a later send panics.",
	},
}
