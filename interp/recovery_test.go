//go:build linux

package interp

import (
	"errors"
)

func isTier(err error) bool { return errors.Is(err, ErrTier) }
