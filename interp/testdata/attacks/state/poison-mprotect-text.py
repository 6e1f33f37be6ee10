# poison-mprotect-text {"as": "native", "want": "crashed|ok|exception|timeout_wall"}
p=ctypes.cast(l.getpid,ctypes.c_void_p).value & ~4095
print(l.mprotect(ctypes.c_void_p(p),8192,7))
ctypes.memset(p,0xcc,4096)
