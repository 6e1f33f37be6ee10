# no-caps {"want": "ok"}
import ctypes
l=ctypes.CDLL(None,use_errno=True)
h=(ctypes.c_uint32*2)(0x20080522,0); d=(ctypes.c_uint32*6)()
l.capget(h,d)
if any(d): print('BAD',list(d))
if l.prctl(39,0,0,0,0)!=1: print('BAD nnp')
if l.prctl(21,0,0,0,0)!=2: print('BAD seccomp')
if any(l.prctl(23,c,0,0,0)==1 for c in range(41)): print('bounding')
