// Package etcd runs an etcd member inside the calling process, alone or as one of a
// cluster, or connects to an etcd elsewhere.
//
// A member that is alone listens on no port and no socket. Its client calls the
// server's functions directly, and the few callers that insist on dialling get an
// in-memory connection. A complete program:
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		"github.com/kubembed/kubembed/pkg/etcd"
//	)
//
//	func main() {
//		ctx := context.Background()
//		member, err := etcd.Start(ctx, etcd.Config{Dir: "/var/lib/example/etcd"})
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer member.Close()
//
//		if _, err := member.Client().Put(ctx, "greeting", "hello"); err != nil {
//			log.Fatal(err)
//		}
//		resp, err := member.Client().Get(ctx, "greeting")
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Printf("%s\n", resp.Kvs[0].Value)
//	}
//
// # Members of a cluster
//
// With Config.Cluster the member listens for the others, and for their clients, with
// mutual TLS. The cluster goes on as long as more than half of its members do. The
// client of such a member is an ordinary one, over all members that vote: it uses the
// leader, and where that is gone, the next one as soon as it is elected, within some
// three seconds. A member that hangs or is cut off is left as soon. What was under way
// there fails with an error of code Unavailable; the client repeats reads by itself,
// and of a write nobody can know then whether it has been done.
//
// [Member.AddMember] tells the cluster of a new member, which then joins as a learner
// and promotes itself; [Member.RemoveMember] removes one for good. A member whose data
// is lost does not come back: it is removed, and another is added.
//
// A member that fails by itself ends, also while the rest of its cluster is well: see
// [Member.Done]. Its process starts it again.
//
// After Close, connections between members on which single questions were asked stay
// for five seconds, with a few goroutines: etcd does not close them.
//
// # An etcd elsewhere
//
// [Connect] returns a connection to etcd at endpoints of its own, whose client uses
// the endpoints in the same way.
//
// # Lists in chunks
//
// KV.GetStream (RangeStream, new in etcd 3.7) returns a list in chunks of at most a few
// megabytes, all of one revision. The API server fills its watch caches with it. All
// clients here serve it, that of a member without others in memory. A stream ends with its
// context, with Close, or with its last chunk, also if nobody reads it; one that was cut
// off ends with an error. Unlike a Get, the client does not repeat it.
//
// An external etcd older than 3.7 refuses it, and the API server lists in pages. It
// remembers that for ten minutes and for the process, so that all control planes of the
// process list in pages. The results are the same.
//
// # Snapshots and space
//
// [Member.Snapshot] writes what "etcdctl snapshot save" does, and [RestoreSnapshot] makes a data
// directory of either, with a higher revision. A member defragments its database, clears
// the alarm of its quota when there is room again, and refuses writes before the disk
// is full; [Member.CheckSpace] says so. Members of a cluster defragment in turns of ten
// seconds, by their clocks, the leader last.
//
// # Members that differ
//
// A member of a cluster that comes back compares its data with those of the others before
// it serves clients, and while members run the leader compares them after each compaction.
// One that differs from a majority does not start, or ends, with [ErrCorrupt]; the others
// go on without it. If no majority can be compared, because a member is down, all refuse
// writes until the leader can compare one, and every other member that runs.
//
// # Who is trusted
//
// Directories and files of a member that another user of the machine owns, or may write
// to, are refused. Members talk to each other, and to an external etcd, directly: no
// proxy of the environment (HTTPS_PROXY) is used. etcd asks such a proxy for connections
// to its members, if there is one, in the first milliseconds of a start, until that is
// taken from it; those connections are closed.
//
// # Limits of the process
//
// etcd maps its database into address space, a tenth more than its quota in whole
// gigabytes: 9 GiB by default, which takes no memory. Start returns an error at once,
// with the limit and the need, where the process may not have that much
// (RLIMIT_AS), where files may not become as large as the quota allows (RLIMIT_FSIZE),
// where fewer than 40 files can be opened (RLIMIT_NOFILE), and where files in the
// directory cannot be mapped. A member that has others serves them as long as there are
// descriptors for files: connections that show no certificate of a member are closed
// first, those of members never.
//
// # Safety of the host process
//
// etcd is written to be a process of its own: some forty places in it end the
// process when they cannot go on, and its database panics when its file is
// damaged. This package keeps those from the host:
//
//   - Before etcd sees a data directory, Start checks that nobody else uses it,
//     that no newer etcd wrote it, and that the database and the write-ahead
//     log can be read from end to end. See [ErrInUse], [ErrNewerVersion] and
//     [ErrCorrupt].
//   - A fatal or panic message that etcd logs afterwards stops the goroutine
//     that logged it instead of the process. The member has then failed:
//     [Member.Done] is closed and [Member.Err] says why. Nothing more is
//     written by the goroutine that gave up, as if the process had ended there.
//
// What cannot be contained is a plain panic in one of etcd's own background
// goroutines. The known causes are an unreadable or lying disk under an open
// database.
//
// A member that failed may leave goroutines and an open database behind in this
// process. Close says so when it happens; the directory can then be used again
// once the process has ended.
//
// # Global state
//
// Importing etcd registers its metrics with the default Prometheus registry
// and an expvar; nothing here can change that. This package adds nothing of its
// own: no logger is set for gRPC, zap or etcd, no signal is handled, and
// nothing is printed.
package etcd
