// Package probe is one small PTX kernel for each instruction, and each family of them, that the emulator imitates, so that hardware can be
// asked what they do: Run executes all of them on a driver. What a GPU answered is kept in testdata, with its name
// and driver, and every test run compares the emulator with it: bit by bit where PTX defines the result, within a stated error where it
// leaves it to the hardware (approximations, the sums of a tensor core). The tests hold the emulator against plain Go too.
//
// The kernels are written by hand and need no compiler. mbarrier, the copy engine and wgmma have no probe here: package
// kernels runs them on hardware in its conformance tests.
package probe
