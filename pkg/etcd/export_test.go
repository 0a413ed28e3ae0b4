package etcd

import "go.uber.org/zap"

// ContainedLogger is the logger that etcd uses.
func (m *Member) ContainedLogger() *zap.Logger { return m.etcd.GetLogger() }
