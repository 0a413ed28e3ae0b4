// Package controllers has the controllers that every control plane runs unless
// it is told not to: without them no namespace is ever gone, nothing that is
// owned is collected, and no pod finds its service account. They are
// upstream's, constructed as kube-controller-manager constructs them, but
// without that program, which would link all others too.
//
// What upstream's program has and a control plane in one process need not pay
// for is left out: the informers are the API server's own, where it has one for
// a kind. For all other kinds the garbage collector and the quota see metadata
// only. Both learn of custom resources when those are defined and not up to 30
// seconds later.
//
// The pod garbage collector is the exception that is our own: upstream's
// imports the kubelet for the sake of one word.
package controllers
