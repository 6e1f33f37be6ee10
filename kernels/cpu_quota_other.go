//go:build !linux

package kernels

func processorQuota(string) float64 { return 0 }
