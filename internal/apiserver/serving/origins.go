// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"errors"
	"regexp/syntax"
)

// cure ends the errors of CheckOrigin.
const cure = `write "^https://console[.]example[.]com$", or "^https://console[.]example[.]com(:[0-9]+)?$" for all its ports`

var (
	errNotAnchored = errors.New(`must be anchored to the host, by "^" or "//" before it and "$" or ":" after it: otherwise it matches hosts of others that contain it: ` + cure)
	errDot         = errors.New(`"." matches any character, also in hosts of others: ` + cure)
	errBeginning   = errors.New(`matches hosts of others that end with it: ".*" must precede "[.]", or be the whole host: write "^https://.*[.]example[.]com$", or ` + cure[len("write "):])
	errEnd         = errors.New(`matches hosts of others that begin with it: ".*" must not follow the host: ` + cure)
)

// CheckOrigin returns why a regular expression for origins of web pages, which compiles,
// may match an origin of others. kube-apiserver's check finds "$" or ":" anywhere in it,
// also in "https:". This one follows each way through the expression.
func CheckOrigin(expression string) error {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	if anyCharacter(parsed, false) {
		return errDot
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return err
	}
	walk := originWalk{program: program, seen: map[originState]bool{}}
	return walk.from(originState{at: uint32(program.Start)}) //nolint:gosec // an index
}

// anyCharacter reports whether a dot stands for one character, as one that should be
// escaped does. repeated is about the expression around it.
func anyCharacter(e *syntax.Regexp, repeated bool) bool {
	switch e.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return !repeated
	case syntax.OpStar, syntax.OpPlus:
		repeated = true
	case syntax.OpRepeat:
		repeated = repeated || e.Max < 0 || e.Max > 1
	case syntax.OpCapture:
	default:
		repeated = false
	}
	for _, sub := range e.Sub {
		if anyCharacter(sub, repeated) {
			return true
		}
	}
	return false
}

// originState is a place in an expression, and its past.
type originState struct {
	at                      uint32
	matched, started, ended bool // a character, "^", "$"
	slashes                 int  // two: the host has begun
	port                    bool // ":" after the host
	named                   bool // the host has a character of the expression's
	any                     bool // the last one matched was of ".*", in the host
}

// originWalk follows all ways through an expression.
type originWalk struct {
	program *syntax.Prog
	seen    map[originState]bool
}

func (w *originWalk) from(s originState) error {
	if w.seen[s] {
		return nil
	}
	w.seen[s] = true
	in := &w.program.Inst[s.at]
	next := s
	next.at = in.Out
	switch in.Op {
	case syntax.InstFail:
		return nil
	case syntax.InstMatch:
		switch {
		case !(s.started || s.slashes == 2) || !(s.ended || s.port):
			return errNotAnchored
		case s.any && s.named:
			return errEnd
		}
		return nil
	case syntax.InstAlt, syntax.InstAltMatch:
		other := s
		other.at = in.Arg
		if err := w.from(next); err != nil {
			return err
		}
		return w.from(other)
	case syntax.InstEmptyWidth:
		switch op := syntax.EmptyOp(in.Arg); {
		case op&(syntax.EmptyBeginText|syntax.EmptyBeginLine) != 0:
			if s.matched { // an origin has one line
				return nil
			}
			next.started = true
		case op&(syntax.EmptyEndText|syntax.EmptyEndLine) != 0:
			next.ended = true
		}
		return w.from(next)
	case syntax.InstCapture, syntax.InstNop:
		return w.from(next)
	default:
		if s.ended {
			return nil
		}
		return w.character(in, next)
	}
}

// character follows an instruction that matches a character.
func (w *originWalk) character(in *syntax.Inst, s originState) error {
	wild := in.Op == syntax.InstRuneAny || in.Op == syntax.InstRuneAnyNotNL
	other := false
	for r := '!'; r <= '~'; r++ {
		other = other || r != '/' && r != ':' && r != '.' && in.MatchRune(r)
	}
	if s.any && !wild && other {
		return errBeginning
	}
	s.matched = true
	s.any = false
	if in.MatchRune('/') {
		next := s
		next.slashes = min(s.slashes+1, 2)
		if err := w.from(next); err != nil {
			return err
		}
	}
	if in.MatchRune(':') {
		next := s
		next.port = s.port || s.slashes == 2
		if s.slashes < 2 {
			next.slashes = 0
		}
		if err := w.from(next); err != nil {
			return err
		}
	}
	if !other && !in.MatchRune('.') {
		return nil
	}
	if s.slashes < 2 {
		s.slashes = 0
	}
	s.any = wild && !s.port
	s.named = s.named || !wild && s.slashes == 2 && !s.port
	return w.from(s)
}
