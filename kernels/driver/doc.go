// Package driver is the seam between the GPU's Go wrappers and a GPU.
//
// A Driver is one GPU: memory, copies, modules of PTX, batched launches, streams, events and graphs. Two implementations stand behind
// it: the hardware (Open, with build tag cuda, through gorgonia.org/cu and one cgo file), and package emu, which runs PTX in Go.
// Nothing above the seam carries a build tag.
//
// With the tag, the package's import of gorgonia.org/cu ends the process at start when no CUDA driver is installed (its init calls
// cuInit and exits with status 1). A binary built with the tag is therefore for GPU machines only.
package driver
