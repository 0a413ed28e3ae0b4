package upstream

// etcdEntries are for pkg/etcd and internal/storage: etcd, raft, bbolt.
var etcdEntries = []Entry{}
