// Package driver is the seam between the GPU's Go wrappers and a GPU.
//
// A Driver is one GPU: memory, copies, modules of PTX, batched launches, streams, events and graphs. Two implementations stand behind
// it: the hardware (Open, with build tag cuda, through gorgonia.org/cu and one cgo file), and package emu, which runs PTX in Go.
// Nothing above the seam carries a build tag.
//
// With the tag, the program is linked with lazy/lazy.c in place of NVIDIA's library, and loads libcuda.so.1 in Open. It therefore starts
// without a driver: gorgonia.org/cu, whose init ends the process where cuInit fails, meets one that succeeds. gpu.sh has the flags.
package driver
