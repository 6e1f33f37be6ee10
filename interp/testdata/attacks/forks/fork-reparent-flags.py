# fork-reparent-flags {"as": "native", "want": "ok", "fork": "ok"}
for f in (0x8000|17,0x10000000|17,0x20000000|17,0x2000|17,0x100|0x8000|17):
    if e(@56/220@,f,0,0,0,0)!=1: print('BAD',hex(f))
if e(435,ctypes.create_string_buffer(88),88)!=38: print('BAD')
