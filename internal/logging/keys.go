package logging

// reserved are keys of every line: zap's encoders and this project write them.
// Upstream's pairs must not put another value beside them: many readers of JSON take the
// last.
var reserved = map[string]bool{
	"caller": true, "error": true, "level": true, "logger": true, "message": true, "msg": true,
	"source": true, "stacktrace": true, "time": true, "ts": true,
}

// Key is the name of the field that takes the value of a key of upstream's.
func Key(key string) string {
	if reserved[key] {
		return "klog_" + key
	}
	return key
}
