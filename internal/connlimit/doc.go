// Package connlimit keeps the connections of a process below the number of
// descriptors that the system gives it, so that files can always be opened.
//
// All listeners of all control planes in a process share one [Budget]: the limit of
// open files, less the other descriptors of the process, less a reserve for files.
// When it is used up, a new connection takes the place of another. A connection on
// which nobody has been authenticated goes first, the oldest before the others, but
// not before it has had a moment to authenticate; then connections of clients that
// may do little, then idle ones, then busy ones of the client that has most. A part
// of the budget is always free for newcomers, and more of it where one client has many
// connections: a new client gets in however many another one holds. Busy connections
// of administrators, and connections between etcd members, are never closed.
//
// Connections that the API server opens because clients ask for it count too.
package connlimit
