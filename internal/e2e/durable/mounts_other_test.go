//go:build !linux

package durable

func separateMounts() error { return nil }
