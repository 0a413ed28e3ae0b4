// Package upstream lists every place where this project copies Kubernetes, etcd, klog, or Go, or
// depends on something that they do not promise: the body of a function that ours follows, a table
// that ours copies, the order of two calls, the text of an error or of a log line, the name of a
// function on a stack.
//
// Each place is an [Entry] with a drift test. The test parses upstream's source in the module
// cache and fails with a sentence that says what differs and what to look at. It reports all
// differences at once. It links nothing of upstream, so it runs in seconds, and it also runs when
// the rest of the project does not compile with a new version of Kubernetes yet:
//
//	go test ./internal/upstream
//
// [Exits] lists the code that is linked and could end the host's process. TestExits finds the
// code of a new version that does.
//
// To add an entry, write it without its Digest; the failing test prints the digest.
// After an upgrade read upstream's change, follow it in Ours where it matters, and only then
// replace the digest by the one that the test prints.
package upstream
