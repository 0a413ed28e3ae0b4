// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// serveLogs serves a simulated container log as the kubelet does: a line for the start,
// the text of AnnotationLog, and a line for the exit.
func (srv *server) serveLogs(w http.ResponseWriter, r *http.Request) {
	var options corev1.PodLogOptions
	query := r.URL.Query()
	if err := coreconversion.Convert_url_Values_To_v1_PodLogOptions(&query, &options, nil); err != nil {
		http.Error(w, "unable to decode query: "+err.Error(), http.StatusBadRequest)
		return
	}
	p, ok := srv.livePod(w, r)
	if !ok {
		return
	}
	container := r.PathValue("container")
	cs, ok := statusOf(p.object, container)
	if !ok {
		http.Error(w, fmt.Sprintf("container %q in pod %q is not available", container, p.object.Name), http.StatusBadRequest)
		return
	}
	if problem := logUnavailable(p.object, &cs, options.Previous); problem != "" {
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
		// A container that waits for its restart has exited.
		if previous := cs.LastTerminationState; cs.State.Waiting != nil && previous.Terminated != nil {
			cs.State = previous
		}
	}
}

// logUnavailable returns why a container has no log, in the words of the kubelet, or "".
// For a container that waits for its restart it sets cs.State to that of the last run.
func logUnavailable(object *corev1.Pod, cs *corev1.ContainerStatus, previous bool) string {
	lastRun := cs.LastTerminationState
	switch {
	case previous && lastRun.Terminated == nil:
		return fmt.Sprintf("previous terminated container %q in pod %q not found", cs.Name, object.Name)
	case previous, cs.State.Running != nil, cs.State.Terminated != nil:
		return ""
	case lastRun.Terminated != nil:
		cs.State = lastRun
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

// logOf returns the log of a container up to now.
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

// logWriter writes the selected lines of a log that may grow.
type logWriter struct {
	w       http.ResponseWriter
	options *corev1.PodLogOptions
	written int   // lines
	left    int64 // bytes, or negative without a limit
}

// write writes the lines that it has not written before. It reports whether more lines
// may follow.
func (l *logWriter) write(lines []logLine) bool {
	unwritten := lines[min(l.written, len(lines)):]
	firstCall := l.written == 0
	l.written = len(lines)
	var since time.Time
	switch {
	case l.options.SinceTime != nil:
		since = l.options.SinceTime.Time
	case l.options.SinceSeconds != nil:
		since = time.Now().Add(-time.Duration(*l.options.SinceSeconds) * time.Second)
	}
	var selected []logLine
	for _, line := range unwritten {
		if !line.at.Before(since) {
			selected = append(selected, line)
		}
	}
	if tail := l.options.TailLines; firstCall && tail != nil {
		selected = selected[max(0, int64(len(selected))-*tail):]
	}
	if ptr.Deref(l.options.Stream, corev1.LogStreamAll) == corev1.LogStreamStderr {
		selected = nil
	}
	for _, line := range selected {
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
