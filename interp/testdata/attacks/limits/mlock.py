# mlock {"want": "ok"}
import ctypes
l=ctypes.CDLL(None,use_errno=True)
b=ctypes.create_string_buffer(1<<20)
print(l.mlock(b,1<<20),l.mlockall(3))
if l.mlockall(3)==0: print('BAD')
