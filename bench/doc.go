// Package bench measures how fast the parts are, each beside its floor: what the same machine, in the same process, can do at all.
//
// A Floor holds the two ceilings of a machine, multiply-adds and bytes read from memory, calibrated before and after what is measured. A
// Row is one result and its share of the ceiling; rows are what `retool bench` prints and, as JSON, what scripts read. Kernels measures the
// operations of a device. Learn and Compare read what training runs of the algorithms came to.
//
// GPUKernels measures a GPU's, case by case into a report that a second call goes on from; Smoke compares them with the CPU, Load says what
// the driver's compiler made of them. gpu_check.py, with gpu_stages.py and gpu_results.py, is what `make gpu-check` packs for a GPU machine
// without Go, peers.py the other implementations; results/README.md says what is kept of a machine.
//
// Wall time on a shared machine says little, so one thread is measured by processor time, every measurement is the best of many
// short ones, and shares are what to compare.
// A share above 1 means that the data came from a cache: the floor counts every byte as read from memory.
package bench
