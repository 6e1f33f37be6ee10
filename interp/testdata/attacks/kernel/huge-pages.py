# huge-pages {"as": "native", "want": "ok"}
l.mmap.restype=ctypes.c_long
l.mmap.argtypes=[ctypes.c_long]*6
for f in (0x22|0x40000,0x21|0x40000,0x22|0x40000|(30<<26)):
    if l.mmap(0,2<<20,3,f,-1,0)!=-1: print('BAD',hex(f))
print(l.mmap(0,4096,3,0x22,-1,0)>0)
