package etcd

import "errors"

// Errors of Start, for errors.Is. None of them is worth a retry without a
// change by the user, except ErrInUse once the other user is gone.
var (
	// ErrInUse says that a running member, in this process or another one,
	// holds the data folder. Locks die with their process: a folder whose
	// process was killed is free.
	ErrInUse = errors.New("data folder is in use")

	// ErrNewerVersion says that a newer etcd wrote the data folder. etcd
	// refuses to go back; use the newer version, or restore a backup.
	ErrNewerVersion = errors.New("data folder was written by a newer etcd")

	// ErrCorrupt says that a file of the data folder is damaged or missing.
	// The error's text names the file. Restore the folder from a backup.
	ErrCorrupt = errors.New("data folder is damaged")
)

// ErrClosed is returned by DialContext after Close, or once the member failed.
var ErrClosed = errors.New("etcd: member is closed")
