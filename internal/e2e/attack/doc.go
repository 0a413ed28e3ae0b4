// Package attack attacks a control plane with everything at once, while an
// administrator writes and nodes send heartbeats, and checks that it outlives them.
//
//	go test ./internal/e2e/attack -v                                                  # 20 seconds
//	go test ./internal/e2e/attack -v -timeout=40m -args -for=24m -recovery=5s         # the full run, as root
//	go test ./internal/e2e/attack -v -args -for=10s -attacks=idle-tcp,rapid-reset     # some of them
//
// The control plane is a process of its own: this test binary started under another
// name, with a data directory on disk, 1,024 file descriptors, 50 hollow nodes, the
// scheduler, the controllers, an audit log, snapshots every few seconds, and an
// insecure listener on loopback. The attackers (attacks_test.go lists them) have what
// attackers have: the addresses, stolen join files, the certificate of a compromised
// node, a user who may use the proxy of that node, a web page in the administrator's
// browser, and as one that is careless rather than hostile, an administrator who posts
// what a fuzzer has found.
//
// TestAttacks fails when the control plane's process ends, when a write that was
// acknowledged is lost, when an attacker succeeded, when an honest node
// is ever seen not ready, when memory, log or descriptors exceed their bounds, and when
// the control plane is not as before within the recovery time after the attacks end: a
// new client creates, lists and watches, /readyz is green, and all nodes are Ready.
//
// As root the snapshots go to a small disk of their own, which one attack fills.
package attack
