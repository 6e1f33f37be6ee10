// Package mpi moves bytes between the processes of an MPI job, by a library that is looked for when it is asked for: nobody needs MPI to
// build or to start.
//
//   - Load opens a library: Open MPI, MPICH or one that shares its interface as Intel MPI does, or one with the interface that MPI 5 fixes
//     (libmpi_abi). They differ in what a handle is: the address of a symbol, or a number.
//   - Init makes this process one of the job's: a World.
//   - World.Start begins an exchange, Exchange.Wait ends it.
//
// All calls of the library come from one thread, which needs no more than MPI_THREAD_FUNNELED. No call that waits is made but MPI_Init and
// MPI_Finalize, and those can be given up: whoever waits asks whether the run is still on.
//
// Only Isend, Irecv and Test are used for data. Nothing is added by MPI: the order of its sums is its own.
package mpi
