# proto-sockopts {"want": "ok alive"}
import ctypes
l=ctypes.CDLL(None,use_errno=True)
b=(ctypes.c_int*4)(1,1,1,1)
for o in (7,8,9,16,20,21,26,32,33,43,50):
    if l.setsockopt(3,1,o,b,16)!=-1: print('BAD',o)
