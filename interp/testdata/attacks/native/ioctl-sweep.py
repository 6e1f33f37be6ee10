# ioctl-sweep {"want": "ok"}
import ctypes
l=ctypes.CDLL(None,use_errno=True)
for fd in (0,1,3):
    for n in (0x5412,0x541C,0x5437,0x8901,0x8902,0x5423,0x5410,0x540e,0x4bfa):
        b=ctypes.create_string_buffer(256)
        if l.ioctl(fd,ctypes.c_ulong(n),b)!=-1: print('BAD',fd,hex(n))
