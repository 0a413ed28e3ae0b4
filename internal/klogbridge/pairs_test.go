// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

// logged returns a line as zap's JSON encoder writes it, without the fields of every
// line.
func logged(t *testing.T, log func()) (message, name string, fields map[string]any) {
	t.Helper()
	var out strings.Builder
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	detach := klogbridge.Attach(zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zapcore.DebugLevel)))
	log()
	if err := detach(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Fatalf("got %d lines, want 1: %s", n, &out)
	}
	if err := json.Unmarshal([]byte(out.String()), &fields); err != nil {
		t.Fatalf("%s: %v", &out, err)
	}
	if source, _ := fields["source"].(string); !strings.HasPrefix(source, "pairs_test.go:") {
		t.Errorf("got source %q in %s", source, &out)
	}
	message, _ = fields["msg"].(string)
	name, _ = fields["logger"].(string)
	for _, key := range []string{"msg", "logger", "level", "ts", "source"} {
		delete(fields, key)
	}
	return message, name, fields
}

// TestPairsBecomeFields: klog's values come out again, whatever they contain. The test
// also fails if klog changes its format.
func TestPairsBecomeFields(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a pod"}}
	for _, value := range []struct {
		value any
		want  string // JSON
	}{
		{"", `""`},
		{"plain", `"plain"`},
		{`with "quotes" and \ and =`, `"with \"quotes\" and \\ and ="`},
		{"looks like=\"a pair\" key=\"x\"", `"looks like=\"a pair\" key=\"x\""`},
		{"tab\tand \x00 and ü and \u2028 and 🙂", `"tab\tand \u0000 and ü and \u2028 and 🙂"`},
		{"two\nlines", `"two\nlines"`},
		{"ends with a break\n", `"ends with a break"`}, // klog does not mark it
		{"\n", `""`},
		{"line\n >\n\t> key=\"forged\"\n", `"line\n >\n\t> key=\"forged\""`},
		{errors.New("of\nan error"), `"of\nan error"`},
		{[]byte("bytes\n\xff"), `"bytes\n` + "\ufffd" + `"`},
		{42, `42`},
		{int64(-1) << 62, `-4611686018427387904`},
		{0.5, `0.5`},
		{1e300, `1e300`},
		{true, `true`},
		{false, `false`},
		{nil, `null`},
		{time.Minute, `"1m0s"`},
		{types.UID("a uid"), `"a uid"`},
		{klog.KObj(pod), `"ns/a pod"`},
		{klog.KRef("", "node"), `"node"`},
		{klog.KObj(nil), `""`},
		{klog.KObjSlice([]*corev1.Pod{pod, nil}), `["ns/a pod",""]`},
		{klog.KObjSlice(nil), `null`},
		{[]string{`a "b"`, "c\nd"}, `["a \"b\"","c\nd"]`},
		{map[string]any{"key": []int{1, 2}, "x": `} y="z`}, `{"key":[1,2],"x":"} y=\"z"}`},
		{struct{ A, B string }{"1", "<&>"}, `{"A":"1","B":"<&>"}`},
		{func() {}, `"<internal error: json: unsupported type: func()>"`},
	} {
		t.Run(fmt.Sprintf("%T %.30v", value.value, value.value), func(t *testing.T) {
			message, name, fields := logged(t, func() {
				klog.ErrorS(errors.New("the \"cause\""), "a message: \"quoted\"\n=", "value", value.value, "after", "that")
			})
			if message != "a message: \"quoted\"\n=" || name != "klog" {
				t.Errorf("got message %q, logger %q", message, name)
			}
			var want any
			if err := json.Unmarshal([]byte(value.want), &want); err != nil {
				t.Fatal(err)
			}
			if got := fields["value"]; fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
				t.Errorf("got %#v, want %#v", got, want)
			}
			if fields["error"] != `the "cause"` || fields["after"] != "that" || len(fields) != 3 {
				t.Errorf("got fields %v", fields)
			}
		})
	}
}

// TestPairsKeepTheLinesOwnFields: keys of upstream's pairs do not replace the line's own
// fields.
func TestPairsKeepTheLinesOwnFields(t *testing.T) {
	message, name, fields := logged(t, func() {
		klog.InfoS("a message", "msg", "forged", "level", "error", "source", "forged.go:1", "ts", 0, "error", "forged", "key", 1)
	})
	if message != "a message" || name != "klog" {
		t.Errorf("got message %q, logger %q", message, name)
	}
	for key, want := range map[string]any{"klog_msg": "forged", "klog_level": "error", "klog_source": "forged.go:1", "klog_ts": 0.0, "klog_error": "forged", "key": 1.0} {
		if fields[key] != want {
			t.Errorf("%s: got %v", key, fields[key])
		}
	}
	// A logger in the pairs becomes the line's logger.
	_, name, fields = logged(t, func() { klog.Background().WithName("one").WithName("two").Info("a message", "key", 1) })
	if name != "klog.one.two" || len(fields) != 1 {
		t.Errorf("got logger %q, fields %v", name, fields)
	}
}

// TestLinesThatLookLikePairs: text stays text.
func TestLinesThatLookLikePairs(t *testing.T) {
	many := `"a message"`
	for i := range 100 {
		many += fmt.Sprintf(` key%d="value"`, i)
	}
	for _, text := range []string{
		`a message key="value"`,
		`"a message" and key="value"`,
		`"a message" key="value" and more`,
		`"a message" key="value"and="more"`,
		`"a message" a key="value"`,
		`"a message" "key"="value"`,
		`"a message" ="value"`,
		`"a message" key=`,
		`"a message" key= other="value"`,
		`"a message" key=value`,
		`"a message" key="not \ended`,
		`"a message" key="bad \escape"`,
		`"a message" key="once" key="twice"`,
		`"a message" key={"not": ended`,
		`"a message" key=[1 2]`,
		"\"a message\" key=<\n\tnot ended",
		"\"a message\" key=<\n\tno tab\nhere\n >",
		"\"a message\" key=`raw`",
		`"a message" key='x'`,
		`"a message"  key="two spaces"`,
		`'a message' key="value"`,
		`"`,
		`"not ended`,
		many,
		`"a message" ` + strings.Repeat("k", 200) + `="value"`,
	} {
		message, _, fields := logged(t, func() { klog.Info(text) })
		if message != text || len(fields) != 0 {
			t.Errorf("%q: got message %q, fields %v", text, message, fields)
		}
	}
}

// TestLineThatIsCut: a line that is too long is text, cut to the limit.
func TestLineThatIsCut(t *testing.T) {
	message, _, fields := logged(t, func() { klog.InfoS("a message", "key", strings.Repeat("x", 1<<20)) })
	if !strings.HasPrefix(message, `"a message" key="xxx`) || len(message) > 65<<10 || len(fields) != 0 {
		t.Errorf("got %.100q, %d bytes, %d fields", message, len(message), len(fields))
	}
}

// FuzzLine: klog's lines contain text of clients. Whatever the text, the line keeps its
// level and its own fields.
func FuzzLine(f *testing.F) {
	for _, header := range []string{"I0102 15:04:05.678901   12345 file.go:67] ", "F0102 15:04:05.678901 1 a.go:1] ", "W] ", ""} {
		for _, message := range []string{
			`"m" k="v"`, "\"m\" k=<\n\tv\n >", `"m" k={"a":1} l=[1]`, `"m" k=1e400`, `"m" k=nul`, `"m" source="s" level="error" msg="x"`, "text",
		} {
			f.Add(header + message + "\n")
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		level, fatal, _, fields := klogbridge.ParseLine(text)
		if level > zapcore.WarnLevel && !fatal {
			t.Errorf("got level %s of a line that is not fatal", level)
		}
		seen := map[string]bool{}
		for _, field := range fields {
			if field.Key == "source" && seen["source"] {
				t.Errorf("got a second source: %v", fields)
			}
			seen[field.Key] = true
			if field.Key == "level" || field.Key == "msg" {
				t.Errorf("got the reserved key %q", field.Key)
			}
		}
	})
}
