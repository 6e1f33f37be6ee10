// Package emu is a GPU in pure Go: it interprets the PTX that ships, and checks memory, races and barriers while it does.
//
// Device implements driver.Driver, so every kernel runs, through the wrappers that use it on hardware, in plain go test. token.go,
// parse.go, body.go and types.go read PTX, registers.go gives registers their rows. opcodes.go is the table of instructions: each has a
// function that compiles it to a Go closure, in integer.go, bitfield.go, float.go, convert.go, compare.go and move.go (numbers, lane by
// lane), access.go and async.go (memory), control.go, exchange.go (lanes with each other), barrier.go, mbarrier.go, bulk.go, mma.go and
// wgmma.go. exec.go runs warps (fragments of lanes, the one furthest behind first), block.go blocks and schedules, cluster.go those that
// run at the same time. memory.go holds the address spaces, shadow.go what the checker remembers, report.go what it says, queue.go what
// was issued and not done.
//
// # What is checked
//
// Every access for bounds, life and alignment; reads of shared memory that nobody wrote; data races between threads of a block and
// between blocks (vector clocks: bar.sync and bar.warp.sync order, shuffles and votes do not); touching the target of a cp.async before
// its thread waited for it; barriers and warp-wide instructions that not all their threads reach; a lane that arrives at an mbarrier for
// its warp while others may still be asking one. A report names kind, line of the CUDA source, and both threads. An instruction that is
// not known is an error at load. Memory starts as 0xFF: NaN.
//
// # What it cannot show
//
// Weak memory, timing, occupancy, and bits where the hardware's are not IEEE: sums inside an mma are taken here in ascending order, and
// ex2, lg2, rsqrt are correctly rounded. Equal bits here show an equal order. Of sm_90a there are mbarriers (parity form), bulk copies to
// shared memory, by tensor maps and plain, and wgmma of bf16 with its left factor in shared memory or registers and its right one of either
// major: a copy completes as late as the program allows, sums are NaN until their wait, registers of a left factor are read then, and each
// warp carries out its quarter of a wgmma by itself, so a warpgroup must give a stage back warp by warp. What a thread stored and bulk
// copies or wgmma then touch wants a fence.proxy.async by that very thread in between. wgmma.fence is accepted, its absence not seen.
// Blocks of a cluster, side by side in x, run at the same time, with multicast, mapa for arrivals at another block's mbarriers, and the
// cluster's barrier. What reaches into a block that has made no barrier there yet, or that has ended, is reported, and the clocks are of
// all their threads. Loads and stores of another block's shared memory, bulk stores and reductions, acquire and release chains between
// blocks, and calls are not emulated: such PTX does not load, but for fences, which are accepted. Streams run in the order issued.
//
// With Options.Queued, nothing takes effect before something waits for it, as on hardware: a failure then comes back from a later call,
// and work that was issued in the wrong order computes what it would there. Copies between host and device demand page-locked memory,
// report it when it is written too early, and leave 0xff in what is read too early; CopyPageable is the copy that a stream does not wait
// for.
//
// It departs from the design in two places. Shadow cells cover 4 bytes and remember which of them were touched. A full barrier moves one
// vector of clocks instead of a matrix; only barriers of some warps make the matrix.
package emu
