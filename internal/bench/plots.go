// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// drawing is a plot of the figures of a section that end with a text. The rest of their
// names is on the axis, as numbers for lines.
type drawing struct {
	section, file, title string
	ends                 string
	lines                bool
	logarithmic          bool
	rows                 bool // a row for each figure, with a dot per side, on a logarithmic axis
	summary              bool // one of the plots for the summary
}

var drawings = []drawing{
	{section: "start", file: "start", title: "Start to first stored pod", ends: startName, summary: true},
	{section: "start", file: "stop", title: "Stop", ends: "open"},
	{section: "start", file: "memory", title: "Idle memory", ends: memoryName},
	{section: "restart", file: "restart", title: "Start on a directory with pods", ends: "pods there"},
	{section: "requests", file: "requests", title: "Requests of 16 clients, as fast as it goes", ends: ", 16 clients: rate"},
	{section: "requests", file: "requests-1", title: "Requests of one client, as fast as it goes", ends: ", 1 clients: rate"},
	{section: "requests", file: "requests-128", title: "Requests of 128 clients, as fast as it goes", ends: ", 128 clients: rate"},
	{section: "requests", file: "requests-cpu", title: "Server CPU of a request, 16 clients", ends: ", 16 clients: server CPU"},
	{section: "list", file: "list", title: "LIST", ends: ": time", logarithmic: true},
	{section: "watch", file: "watch", title: "Events delivered", ends: " watchers: events", lines: true, logarithmic: true},
	{section: "watch", file: "watch-delay", title: "Delay of an event at even load, p99", ends: " watchers: delay p99 at even load", lines: true, logarithmic: true},
	{section: "heartbeats", file: "heartbeats", title: "CPU for the heartbeats of nodes", ends: " nodes: CPU", lines: true},
	{section: "growth", file: "growth-memory", title: "Memory by pods stored", ends: " pods: memory, resident", lines: true},
	{section: "growth", file: "growth-latency", title: "Create with one client, p50, by pods stored", ends: " pods: create, 1 client: p50", lines: true},
	{section: "durable", file: "durable", title: "Durable creates", ends: " writers: rate", lines: true, logarithmic: true},
	{section: "planes", file: "planes", title: "Memory by control planes in one process", ends: ": memory, resident", lines: true},
	{section: "crds", file: "crds", title: "CRDs until served", ends: " CRDs: time for each"},
	{section: "tests", file: "tests", title: "A package of 20 tests", ends: "wall time"},
	{section: "edit", file: "edit", title: "The edit loop", ends: editName},
	{section: "effects", file: "effects", title: effectsSection.title + ", p50", ends: medianEnd, rows: true, summary: true},
	{section: "packages", file: "packages", title: packagesSection.title, ends: packagesName},
	{section: "scale", file: "scale", title: "Deployments on simulated nodes, until all pods are Running", ends: podsRunning, summary: true},
}

// plotted is a plot in a file.
type plotted struct{ title, file string }

func plotSection(directory string, s section, figures []figure) (done []plotted, err error) {
	for _, d := range drawings {
		if d.section != s.name {
			continue
		}
		var chosen []figure
		for _, f := range figures {
			if name, ok := strings.CutSuffix(f.name, d.ends); ok {
				f.name = strings.TrimRight(name, ":, ")
				chosen = append(chosen, f)
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if d.rows {
			if err := d.saveRows(filepath.Join(directory, d.file+".svg"), s.sides, chosen); err != nil {
				return nil, fmt.Errorf("plot %s: %w", d.file, err)
			}
			done = append(done, plotted{d.title, d.file + ".svg"})
			continue
		}
		p := plot.New()
		p.Title.Text, p.Y.Label.Text = d.title, strings.Replace(chosen[0].unit, "/s", "a second", 1)
		p.Legend.Top, p.Legend.Left = true, true
		if d.lines {
			err = d.drawLines(p, s.sides, chosen)
		} else {
			err = d.drawBars(p, s.sides, chosen)
		}
		if err != nil {
			return nil, fmt.Errorf("plot %s: %w", d.file, err)
		}
		if d.logarithmic {
			p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		} else {
			p.Y.Min = 0
		}
		// Space for the legend above the plot.
		p.Y.Max *= 1.3
		width := vg.Length(max(16, 2+3*len(chosen))) * vg.Centimeter
		if d.lines {
			width = 16 * vg.Centimeter
		}
		if err := p.Save(width, 10*vg.Centimeter, filepath.Join(directory, d.file+".svg")); err != nil {
			return nil, err
		}
		done = append(done, plotted{d.title, d.file + ".svg"})
	}
	return done, nil
}

// drawBars draws a group of bars for each figure, with one bar per side.
func (d drawing) drawBars(p *plot.Plot, sides []string, figures []figure) error {
	sides = measured(sides, figures)
	const group = 0.8 // of the distance between two
	p.X.Min, p.X.Max = -0.5, float64(len(figures))-0.5
	var names []string
	for _, f := range figures {
		names = append(names, strings.ReplaceAll(f.name, ", ", ",\n"))
	}
	if len(figures) > 1 || names[0] != "" {
		p.NominalX(names...)
	} else {
		p.HideX()
	}
	for i, side := range sides {
		fill := colorOf(side)
		width := group / float64(len(sides))
		legend, err := plotter.NewPolygon(plotter.XYs{{}})
		if err != nil {
			return err
		}
		legend.Color = fill
		p.Legend.Add(side, legend)
		for j, f := range figures {
			if len(f.sides[side]) == 0 {
				continue
			}
			s := spread(f.sides[side])
			left := float64(j) - group/2 + float64(i)*width
			floor := 0.0
			if d.logarithmic {
				floor = s.median / 1e6 // there is no zero
			}
			bar, err := plotter.NewPolygon(plotter.XYs{{X: left, Y: floor}, {X: left, Y: s.median}, {X: left + width, Y: s.median}, {X: left + width, Y: floor}})
			if err != nil {
				return err
			}
			bar.Color, bar.LineStyle.Width = fill, 0
			p.Add(bar)
			if err := addRange(p, plotter.XY{X: left + width/2, Y: s.median}, s, color.Black); err != nil {
				return err
			}
		}
	}
	if d.logarithmic {
		p.Y.Min = least(figures) / 2
	}
	return nil
}

// saveRows draws a row for each figure, the first one on top.
func (d drawing) saveRows(file string, sides []string, figures []figure) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = d.title, figures[0].unit
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var names []string
	for _, f := range slices.Backward(figures) {
		names = append(names, f.name)
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.5, float64(len(figures))+0.5
	p.Add(plotter.NewGrid())
	for _, side := range measured(sides, figures) {
		var points plotter.XYs
		for i, f := range figures {
			if len(f.sides[side]) > 0 {
				points = append(points, plotter.XY{X: spread(f.sides[side]).median, Y: float64(len(figures) - 1 - i)})
			}
		}
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		dots.Color, dots.Shape, dots.Radius = colorOf(side), draw.CircleGlyph{}, vg.Points(4)
		p.Add(dots)
		p.Legend.Add(side, dots)
	}
	p.Legend.Top = true
	p.X.Min, p.X.Max = p.X.Min/1.2, p.X.Max*1.2
	return p.Save(28*vg.Centimeter, vg.Length(4+0.6*float64(len(figures)))*vg.Centimeter, file)
}

// drawLines draws a line for each side. The names of the figures are numbers.
func (d drawing) drawLines(p *plot.Plot, sides []string, figures []figure) error {
	var ticks []plot.Tick
	for _, side := range measured(sides, figures) {
		var points plotter.XYs
		for _, f := range figures {
			x, err := strconv.ParseFloat(f.name, 64)
			if err != nil || len(f.sides[side]) == 0 {
				continue
			}
			s := spread(f.sides[side])
			point := plotter.XY{X: x, Y: s.median}
			points = append(points, point)
			if tick := (plot.Tick{Value: x, Label: f.name}); !slices.Contains(ticks, tick) {
				ticks = append(ticks, tick)
			}
			if err := addRange(p, point, s, colorOf(side)); err != nil {
				return err
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color = colorOf(side), colorOf(side)
		p.Add(line, dots)
		p.Legend.Add(side, line, dots)
	}
	// The measured values, with a margin, and widely spaced if they are.
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	if p.X.Min > 0 && p.X.Max/p.X.Min >= 20 {
		p.X.Scale = plot.LogScale{}
		p.X.Min, p.X.Max = p.X.Min/1.2, p.X.Max*1.2
	} else {
		margin := (p.X.Max - p.X.Min) / 20
		p.X.Min, p.X.Max = p.X.Min-margin, p.X.Max+margin
	}
	words := strings.Fields(d.ends)
	p.X.Label.Text = strings.Trim(words[0], ":,")
	if p.X.Label.Text == "" || strings.HasPrefix(d.ends, ":") {
		p.X.Label.Text = "control planes"
	}
	return nil
}

// colorOf returns the color of a side, the same in all plots.
func colorOf(side string) color.Color {
	sides := []string{own, inProcess, envtest, inOne, bare, separate, rawEtcd, pooled, upstream, simulated, kwok, tuned, tunedInProcess}
	if side == durableOwn {
		side = own
	}
	if i := slices.Index(sides, side); i >= 0 {
		return plotutil.Color(i)
	}
	return plotutil.Color(len(sides))
}

// addRange draws the minimum and the maximum.
func addRange(p *plot.Plot, at plotter.XY, s statistics, c color.Color) error {
	errors := struct {
		plotter.XYs
		plotter.YErrors
	}{plotter.XYs{at}, plotter.YErrors{{Low: s.least - s.median, High: s.most - s.median}}}
	bars, err := plotter.NewYErrorBars(errors)
	if err != nil {
		return err
	}
	bars.Color = c
	p.Add(bars)
	return nil
}

// measured returns the sides that have any of the figures.
func measured(sides []string, figures []figure) (some []string) {
	for _, side := range sides {
		if slices.ContainsFunc(figures, func(f figure) bool { return len(f.sides[side]) > 0 }) {
			some = append(some, side)
		}
	}
	return some
}

func least(figures []figure) float64 {
	low := math.Inf(1)
	for _, f := range figures {
		for _, values := range f.sides {
			low = min(low, slices.Min(values))
		}
	}
	return low
}
