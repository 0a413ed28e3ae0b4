package hollownode

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	coreconversion "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/utils/ptr"
)

// serveLogs answers as a kubelet does, with what a container could have written:
// a line when it starts, the text of AnnotationLog, and a line when it ends.
func (srv *server) serveLogs(w http.ResponseWriter, r *http.Request) {
	var options corev1.PodLogOptions
	query := r.URL.Query()
	if err := coreconversion.Convert_url_Values_To_v1_PodLogOptions(&query, &options, nil); err != nil {
		http.Error(w, "unable to decode query: "+err.Error(), http.StatusBadRequest)
		return
	}
	p, ok := srv.living(w, r)
	if !ok {
		return
	}
	container := r.PathValue("container")
	cs, ok := statusOf(p.object, container)
	if !ok {
		http.Error(w, fmt.Sprintf("container %q in pod %q is not available", container, p.object.Name), http.StatusBadRequest)
		return
	}
	if problem := noLog(p.object, &cs, options.Previous); problem != "" {
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	out := logWriter{w: w, options: &options, left: ptr.Deref(options.LimitBytes, -1)}
	w.Header().Set("Content-Type", "text/plain")
	id, restarts := p.object.UID, cs.RestartCount
	for {
		lines := logOf(p.object, cs, options.Previous)
		if !out.write(lines) || !options.Follow || options.Previous || cs.State.Running == nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-p.changed:
		}
		if p, ok = srv.pods.get(key(p.object)); !ok || p.object.UID != id {
			return
		}
		if cs, ok = statusOf(p.object, container); !ok || cs.RestartCount != restarts {
			return
		}
		// A container that waits to be restarted has ended.
		if last := cs.LastTerminationState; cs.State.Waiting != nil && last.Terminated != nil {
			cs.State = last
		}
	}
}

// noLog says why there is nothing to show, in the words of the kubelet.
func noLog(object *corev1.Pod, cs *corev1.ContainerStatus, previous bool) string {
	last := cs.LastTerminationState
	switch {
	case previous && last.Terminated == nil:
		return fmt.Sprintf("previous terminated container %q in pod %q not found", cs.Name, object.Name)
	case previous, cs.State.Running != nil, cs.State.Terminated != nil:
		return ""
	case last.Terminated != nil:
		cs.State = last
		return ""
	}
	reason := ""
	if cs.State.Waiting != nil {
		reason = cs.State.Waiting.Reason
	}
	return fmt.Sprintf("container %q in pod %q is waiting to start: %s", cs.Name, object.Name, reason)
}

type logLine struct {
	at   time.Time
	text string
}

// logOf is the log of a container up to now.
func logOf(object *corev1.Pod, cs corev1.ContainerStatus, previous bool) []logLine {
	state := cs.State
	if previous {
		state = cs.LastTerminationState
	}
	var started time.Time
	switch {
	case state.Running != nil:
		started = state.Running.StartedAt.Time
	case state.Terminated != nil:
		started = state.Terminated.StartedAt.Time
	}
	lines := []logLine{{started, fmt.Sprintf("hollow container %s of pod %s/%s started on %s, image %s",
		cs.Name, object.Namespace, object.Name, object.Spec.NodeName, cs.Image)}}
	for line := range strings.Lines(object.Annotations[AnnotationLog]) {
		lines = append(lines, logLine{started, strings.TrimSuffix(line, "\n")})
	}
	if end := state.Terminated; end != nil {
		lines = append(lines, logLine{end.FinishedAt.Time, fmt.Sprintf("ended with exit code %d", end.ExitCode)})
	}
	return lines
}

// logWriter writes what is asked for of a log that grows.
type logWriter struct {
	w       http.ResponseWriter
	options *corev1.PodLogOptions
	written int   // lines
	left    int64 // bytes, or less than zero for all
}

// write reports false when no more is wanted.
func (l *logWriter) write(lines []logLine) bool {
	fresh := lines[min(l.written, len(lines)):]
	first := l.written == 0
	l.written = len(lines)
	var since time.Time
	switch {
	case l.options.SinceTime != nil:
		since = l.options.SinceTime.Time
	case l.options.SinceSeconds != nil:
		since = time.Now().Add(-time.Duration(*l.options.SinceSeconds) * time.Second)
	}
	var chosen []logLine
	for _, line := range fresh {
		if !line.at.Before(since) {
			chosen = append(chosen, line)
		}
	}
	if tail := l.options.TailLines; first && tail != nil {
		chosen = chosen[max(0, int64(len(chosen))-*tail):]
	}
	if ptr.Deref(l.options.Stream, corev1.LogStreamAll) == corev1.LogStreamStderr {
		chosen = nil
	}
	for _, line := range chosen {
		text := line.text + "\n"
		if l.options.Timestamps {
			text = line.at.UTC().Format(time.RFC3339Nano) + " " + text
		}
		if l.left >= 0 {
			text = text[:min(int64(len(text)), l.left)]
			l.left -= int64(len(text))
		}
		if _, err := l.w.Write([]byte(text)); err != nil {
			return false
		}
		if l.left == 0 {
			return false
		}
	}
	_ = http.NewResponseController(l.w).Flush()
	return true
}
