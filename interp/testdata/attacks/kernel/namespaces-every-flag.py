# namespaces-every-flag {"as": "native", "want": "ok"}
for f in (0x80,0x20000,0x2000000,0x4000000,0x8000000,0x10000000,0x20000000,0x40000000,0x7e020080,0x200,0x400):
    for n in (@272/97@,):
        if e(n,f)!=1: print('BAD unshare',hex(f))
    for fd in (0,1,3):
        if e(@308/268@,fd,f)!=1: print('BAD setns',hex(f))
b=ctypes.create_string_buffer(88)
b[0:8]=(0x10000000).to_bytes(8,'little')
if e(435,b,88)!=38: print('BAD clone3')
for f in (0x10000000|0x11,0x20000011,0x40000011,0x4000|0x11,0x100|0x4000|0x11,0x8000|0x11,0x80000011,0x2000|0x11,0x1000|0x11,0x10000,0x11):
    if e(@56/220@,f,0,0,0,0)!=1: print('BAD clone',hex(f))
