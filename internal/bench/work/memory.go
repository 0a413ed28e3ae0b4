package work

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ResidentMemory returns how many bytes of memory the process and all that
// descend from it have resident. It needs Linux.
func ResidentMemory(pid int) (int64, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	resident := map[int]int64{}
	children := map[int][]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // It has ended.
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return 0, err
		}
		parent, pages, err := parseStat(data)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		resident[child] = pages * int64(os.Getpagesize())
		children[parent] = append(children[parent], child)
	}
	if resident[pid] == 0 {
		return 0, fmt.Errorf("/proc has no process %d", pid)
	}
	var sum func(pid int) int64
	sum = func(pid int) int64 {
		total := resident[pid]
		for _, child := range children[pid] {
			total += sum(child)
		}
		return total
	}
	return sum(pid), nil
}

// parseStat reads proc(5)'s stat: PID (NAME) STATE PPID ... RSS in pages.
func parseStat(data []byte) (parent int, pages int64, err error) {
	// A name may have anything in it.
	end := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[end+1:]))
	if end < 0 || len(fields) < 22 {
		return 0, 0, errors.New("is not as expected")
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, err
	}
	pages, err = strconv.ParseInt(fields[21], 10, 64)
	return parent, pages, err
}
