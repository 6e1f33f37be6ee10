# signal-by-every-call {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(128)
for p in (os.getppid(),2,3,100,4242,-1 & 0xffffffff):
    for n,a in ((@129/138@,(p,9,b)),(@297/240@,(p,p,9,b)),(@200/130@,(p,9)),(@234/131@,(p,p,9)),(424,(p,9,0,0)),(434,(p,0))):
        r=e(n,*a)
        if r==0 and p not in (1,): print('BAD',p,n)
        if n in (129,297,138,240,424,434) and r!=1: print('BAD errno',n,r)
