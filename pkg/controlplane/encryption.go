package controlplane

import (
	"context"
	"fmt"
)

// Reencrypt writes anew what is not stored as Config.Encryption has it, and returns
// how many objects it has written. When it returns no error all keys but the first
// can be dropped, or all of them with WritePlaintext. Objects keep their content and
// get a new resource version. It may be called at any time, and again where it was
// broken off. It stops with the error of ctx, or at the first object that cannot be
// read.
func (s *Server) Reencrypt(ctx context.Context) (int, error) {
	written, err := s.apiserver.Reencrypt(ctx)
	if err != nil {
		return written, fmt.Errorf("controlplane: %w", err)
	}
	return written, nil
}
