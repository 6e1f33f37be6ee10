// Package dist joins the ranks of one run. A rank is a process with one device.
//
//   - A Comm is what the ranks share: bytes gathered, tickets, tensors reduced and gathered in parts. Alone, Local (goroutines of one
//     process) and Join (processes, over TCP and shared memory) make one.
//   - A Fabric moves tensors faster than TCP does: OverNCCL, OverMPI.
//   - Parts say which rank owns which numbers of a flat tensor.
//   - An Ended is why a run ended, with the rank it began with.
//
// # Promises
//
//   - Transports move bytes; sums are ours, in one binary tree over the ranks. Their bits depend on the numbers and on the number of ranks,
//     not on who was faster. Trees nest: the tree over S slices is the tree over S/2ᵏ ranks of the trees over each one's 2ᵏ neighbours.
//   - Every rank makes the same calls in the same order. Names and numbers of calls travel with the data, so two ranks in different calls
//     end the run with both names.
//   - A rank that exits, is killed, stops, or loses its host ends the run on all of them, with one sentence that names it. A rank that is
//     slow ends nothing: deadlines count lack of progress (Comm.Doing), not time.
//   - There is no repair. A run that has ended is started again, on any number of ranks.
//
// # Over TCP
//
// It is always there, for bytes and for tensors in host memory, and is no engine for scale. Every pair of ranks has a connection.
// Nothing of a connection is believed before its other end has proved that it knows the run's secret; that is never sent. With
// Options.TLS what follows is encrypted as well.
//
// A collective of tensors is over when its call returns: nothing of it overlaps with computing.
//
// # Within a host
//
// Where all ranks are processes of one host, what calls move goes through memory that they share, and tickets are counted there. It is
// the same rounds, with the same numbers, names and ends; signs of life, ends, and bytes of more than 1 MiB stay on TCP. A rank that waits
// sleeps in the kernel. The memory has no name and is gone with the last rank, however that ends. Where it cannot be had, a line says why,
// and all goes by TCP.
//
// # Over a fabric
//
// Between GPUs (OverNCCL) tensors go by NVIDIA's library, between hosts whose ranks mpirun started (OverMPI) by MPI. Both copy and add
// nothing; bytes, tickets, signs of life and ends stay on TCP, and each collective begins there. Sums have the same bits over either.
// AllGather is under way from its call to its Wait: what is computed between the two hides it. A rank that hangs in a fabric is noticed as
// any other: nobody waits in a call of the library.
//
// # What a caller that stops on a signal does
//
// A signal reaches ranks at different times, so none may act on it alone: each adds "I am asked to stop" to the bytes of a Gather that it
// makes anyway, and all stop after the same one.
package dist
