# ill {"want": "crashed gone"}
import ctypes,mmap
m=mmap.mmap(-1,4096,prot=7); m.write(b'\x0f\x0b\x00\x00')
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
