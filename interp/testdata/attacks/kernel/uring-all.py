# uring-all {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(120)
for n,a in ((425,(1,b)),(425,(4096,b)),(426,(3,1,1,0,0,0)),(427,(3,0,b,1))):
    if e(n,*a)!=1: print('BAD',n)
