// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"strings"
)

// ShellPages are the pages whose commands are run.
var ShellPages = []string{"README.md", "examples/master/README.md"}

// Script makes one bash script of the blocks of a page, which runs them in order, each
// line as a reader would type it. It needs these variables:
//
//	OUT   an empty directory, for outputs
//	DOCS  a program: "$DOCS match WANT GOT" compares two files (see Match), and
//	      "$DOCS workers KUBECONFIG" is two simulated workers, which writes "ready"
//
// It prints the place of each block before it runs it, and ends with the first that
// fails.
func Script(blocks []Block) string {
	var s strings.Builder
	s.WriteString(preamble)
	for _, b := range blocks {
		if b.Has("not run:") || b.Has("in a new module") {
			continue
		}
		switch b.Lang {
		case "sh":
			b.sh(&s)
		case "console":
			b.console(&s)
		}
	}
	s.WriteString("end_background\n")
	return s.String()
}

const preamble = `set -Eeuo pipefail
current='the beginning' log=/dev/null job= joblog=
exec 3>&1 # where the output of blocks does not go
trap 'echo "$current failed:" >&3; tail -n 60 "$log" >&3; exit 1' ERR
begin() { current=$1 log=$OUT/${1//[^A-Za-z0-9]/_}; : > "$log"; echo "$current"; }
end_background() {
  if [[ -z $job ]]; then return; fi
  current="$current, and Ctrl-C after it," log=$joblog
  kill -INT -- "-$job"
  wait "$job" || true # that of go run is 1 after Ctrl-C, whatever the program's is
  if grep -q '^exit status' "$joblog"; then return 1; fi
  job=
}
until_text() { # FILE TEXT
  for ((i = 0; i < 1200; i++)); do
    if grep -qF -- "$2" "$1"; then return; fi
    kill -0 "$job" 2>/dev/null || break
    sleep 0.1
  done
  echo "\"$2\" does not appear"
  return 1
}
`

// sh runs the commands. Of a block that keeps running that is all but the last.
func (b Block) sh(s *strings.Builder) {
	fmt.Fprintf(s, "begin %s\n", b)
	text := b.Text
	if until := b.Get("background until"); len(until) > 0 {
		lines := strings.SplitAfter(text, "\n")
		last := len(lines) - 2
		for last > 0 && strings.HasSuffix(lines[last-1], "\\\n") {
			last--
		}
		fmt.Fprintf(s, "end_background\n%sset -m\n%s > \"$log\" 2>&1 &\njob=$! joblog=$log\nset +m\nuntil_text \"$log\" %s\n",
			strings.Join(lines[:last], ""), strings.TrimSpace(strings.Join(lines[last:], "")), quote(until[0]))
	} else {
		fmt.Fprintf(s, "{\n%s} > \"$log\" 2>&1\n", text)
	}
	if b.Has("workers join") {
		s.WriteString("\"$DOCS\" workers admin.kubeconfig > \"$OUT/workers\" 2>&1 &\nlog=$OUT/workers\nuntil_text \"$log\" ready\n")
	}
}

// Command is one of a block of console, with the output that is shown.
type Command struct {
	Text, Output string
	Line         int
}

// Commands are the lines after "$ ", each with the output below it.
func (b Block) Commands() (commands []Command) {
	open := false // the command goes on
	for i, line := range strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n") {
		typed, prompt := strings.CutPrefix(line, "$ ")
		switch last := len(commands) - 1; {
		case prompt:
			commands = append(commands, Command{Text: typed, Line: b.Line + 1 + i})
		case last < 0:
			commands = append(commands, Command{Text: "false # output without a command", Line: b.Line + 1 + i})
		case open:
			commands[last].Text += "\n" + line
		default:
			commands[last].Output += line + "\n"
		}
		open = (prompt || open) && strings.HasSuffix(line, "\\")
	}
	return commands
}

// console runs the commands and compares. The shown output may come a little later, so
// that commands that only look are repeated.
func (b Block) console(s *strings.Builder) {
	for _, c := range b.Commands() {
		fmt.Fprintf(s, "begin %s:%d\n", b.Page, c.Line)
		if c.Output == "" {
			fmt.Fprintf(s, "{ %s\n} > \"$log\" 2>&1\n", c.Text)
			continue
		}
		fmt.Fprintf(s, "printf %%s %s > \"$OUT/want\"\n", quote(c.Output))
		if strings.Contains(c.Text, "kubectl get ") || strings.Contains(c.Text, "kubeconfig get ") {
			fmt.Fprintf(s, "for ((n = 0; n < 300; n++)); do\n{ %s\n} > \"$log\" 2>&1 || true\nif \"$DOCS\" match \"$OUT/want\" \"$log\" > /dev/null; then break; fi\nsleep 0.2\ndone\n", c.Text)
		} else {
			fmt.Fprintf(s, "{ %s\n} > \"$log\" 2>&1\n", c.Text)
		}
		s.WriteString("\"$DOCS\" match \"$OUT/want\" \"$log\"\n")
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
