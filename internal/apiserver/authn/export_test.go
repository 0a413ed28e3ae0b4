// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

// Setting reports whether a Set works.
func (j *JWTs) Setting() bool { return len(j.setting) > 0 }
