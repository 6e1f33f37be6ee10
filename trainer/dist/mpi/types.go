package mpi

// Transfer is bytes that go to a rank, or come from it.
type Transfer struct {
	Peer  int
	Send  bool
	Bytes []byte // of World.Buffer, 1 to 2³¹-1; untouched by others until the exchange is over
}

// Libraries are the names under which the loader is asked for a library of a launcher's family, "Open MPI" or "MPICH". It must be the
// launcher's: another one makes of n ranks n worlds of one.
func Libraries(family string) []string {
	if family == "MPICH" {
		return []string{"libmpi.so.12", "libmpich.so.12", "libmpich.so", "libmpi.so"}
	}
	return []string{"libmpi.so.40", "libmpi.so"}
}
