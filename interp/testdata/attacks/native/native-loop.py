# native-loop {"want": "timeout_cpu gone|timeout_wall gone"}
import ctypes,mmap,platform
m=mmap.mmap(-1,4096,prot=7); m.write(b'\xeb\xfe' if platform.machine()=='x86_64' else b'\x00\x00\x00\x14')
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
