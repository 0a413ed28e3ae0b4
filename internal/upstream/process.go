package upstream

// processEntries are for what protects the host's process: exits, panics, goroutines, stacks.
var processEntries = []Entry{
	{
		Ours:    "internal/klogbridge/contain.go",
		Package: "k8s.io/klog/v2",
		Decl:    "OsExit",
		Has:     []string{"OsExit = os.Exit"},
		Look:    "klog ends the process through this variable, which klogbridge replaces; look for the new way, or a Fatal of klog ends the host's process.",
	},
}
