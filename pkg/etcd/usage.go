package etcd

// Usage returns how many bytes of the member's database are in use, without what
// was deleted and compacted away, and Config.QuotaBytes. It takes nanoseconds, and
// may be called at any time.
func (m *Member) Usage() (inUse, quota int64) {
	s := m.etcd.Server
	return s.Backend().SizeInUse(), s.Cfg.QuotaBackendBytes
}
