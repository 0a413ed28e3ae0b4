// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcd runs an etcd member inside the calling process, standalone or as a member
// of a cluster, or connects to an external etcd.
//
// A standalone member listens on no port and no socket. Its client calls the server's
// functions directly, and callers that insist on dialling get an in-memory connection. A
// complete program:
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
// With Config.Cluster the member listens for the other members and for their clients,
// with mutual TLS. The cluster works as long as more than half of its members do. The
// client of such a member is an ordinary etcd client over all voting members. It uses the
// leader; if the leader fails, it uses the next one as soon as it is elected, within
// about three seconds. It leaves a member that hangs or is partitioned equally soon.
// Calls in flight there fail with code Unavailable. The client repeats reads by itself;
// whether a write was done is unknown then.
//
// [Member.AddMember] adds a member to the cluster, which then joins as a learner and
// promotes itself. [Member.RemoveMember] removes one permanently. A member that has lost
// its data cannot come back: remove it and add another.
//
// A member that fails ends by itself, even if the rest of its cluster works: see
// [Member.Done]. Its process starts it again.
//
// After Close, connections for single requests between members stay open for five
// seconds, with a few goroutines: etcd does not close them.
//
// # External etcd
//
// [Connect] returns a connection to an external etcd. Its client uses the endpoints in
// the same way.
//
// # Lists in chunks
//
// KV.GetStream (RangeStream, new in etcd 3.7) returns a list in chunks of at most a few
// megabytes, all of one revision. The API server fills its watch caches with it. All
// clients of this package support it; a standalone member serves it in memory. A stream
// ends with its context, with Close, or with its last chunk, even if it is not read. An
// interrupted stream ends with an error. Unlike a Get, the client does not repeat it.
//
// An external etcd older than 3.7 refuses it, and the API server lists in pages. It
// remembers that for ten minutes and per process: all control planes of the process list
// in pages. The results are the same.
//
// # Snapshots and space
//
// [Member.Snapshot] writes a snapshot in the format of "etcdctl snapshot save", and
// [RestoreSnapshot] makes a data directory from either, with a higher revision. A member
// defragments its database, clears the alarm of its quota when there is room again, and
// refuses writes before the disk is full; see [Member.CheckSpace]. Members of a cluster
// defragment in turns of ten seconds, by their clocks, the leader last.
//
// # Consistency
//
// A member of a cluster that restarts compares its data with the other members before it
// serves clients, and while members run the leader compares them after each compaction. A
// member that differs from a majority does not start, or ends, with [ErrCorrupt]; the
// others continue without it. If no majority can be compared, because a member is down,
// all members refuse writes until the leader can compare a majority and every other
// running member.
//
// # Trust
//
// A member refuses directories and files that another user of the machine owns or may
// write to. Members connect to each other, and clients to an external etcd, directly:
// they use no proxy of the environment (HTTPS_PROXY). In the first milliseconds of a
// start etcd may ask such a proxy for connections to other members; these connections are
// closed.
//
// # Limits of the process
//
// etcd maps its database into address space, a tenth more than its quota in whole
// gigabytes: 9 GiB by default, which takes no memory. Start checks the limits of the
// process: address space (RLIMIT_AS), the size of files (RLIMIT_FSIZE), and at least 40
// open files (RLIMIT_NOFILE). It also checks that files in the directory can be mapped.
// The error names the limit and the need. A member of a cluster serves the others as long
// as there are file descriptors: it closes connections without a member's certificate
// first, and never closes connections of members.
//
// # Safety of the host process
//
// etcd is written to be a process of its own: about forty places in it end the process
// when they cannot continue, and its database panics when its file is damaged. This
// package keeps those from the host:
//
//   - Before etcd opens a data directory, Start checks that no other member uses it, that
//     no newer etcd wrote it, and that the database and the write-ahead log are readable
//     from end to end. See [ErrInUse], [ErrNewerVersion] and [ErrCorrupt].
//   - A fatal or panic message that etcd logs later stops the goroutine that logged it
//     instead of the process. The member has then failed: [Member.Done] is closed and
//     [Member.Err] returns the reason. The stopped goroutine writes nothing more, as if
//     the process had ended there.
//
// A plain panic in one of etcd's own background goroutines cannot be contained. The known
// causes are disks that return errors or wrong data under an open database.
//
// A member that failed may leave goroutines and an open database behind in this process.
// Close then returns an error, and the directory stays in use until the process ends.
//
// # Global state
//
// Importing etcd registers its metrics with the default Prometheus registry and an
// expvar; this package cannot change that. It adds nothing of its own: it sets no logger
// for gRPC, zap or etcd, handles no signal and prints nothing.
package etcd
