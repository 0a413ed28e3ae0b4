package upstream

// componentsEntries are for pkg/components and internal/controllers: the scheduler and the controllers.
var componentsEntries = []Entry{}
