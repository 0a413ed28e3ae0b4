// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package pool has no names. Its module has package controlplanetest, which gives tests
// control planes from a program beside them: test binaries link client-go and no API
// server. README.md beside this file is about first use, versions and CI.
package pool
