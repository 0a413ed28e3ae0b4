package upstream

// textEntries are for texts of errors and of log lines that are matched.
var textEntries = []Entry{}
