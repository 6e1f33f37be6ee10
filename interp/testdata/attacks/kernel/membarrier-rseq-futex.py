# membarrier-rseq-futex {"as": "native", "want": "ok"}
print(e(@324/283@,0,0,0),e(@202/98@,ctypes.create_string_buffer(4),1,1,0,0,0))
