// Package ptx holds the compiled kernels.
//
// A family is one .cu file of package kernels; <family>.sm80.ptx is its portable form, <family>.sm90a.ptx what
// it holds for Hopper. PTX is committed: nobody needs nvcc to build, test or
// run. gen.go (go run, wherever nvcc 13.0 is or PyPI can be reached) writes the files and manifest.json, which says for each family what it
// was made from, and for each entry its parameters, registers and shared memory. ptx_test.go finds a stale file without nvcc.
package ptx
