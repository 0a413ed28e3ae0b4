//go:build unix && !linux && !darwin

package connlimit

import "math"

func systemLimit() int { return math.MaxInt32 }
