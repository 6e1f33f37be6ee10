# memory-of-others {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(64)
for n,a in ((@310/270@,(os.getppid() or 1,b,1,b,1,0)),(@311/271@,(1,b,1,b,1,0)),(@312/272@,(1,2,0,0,0)),(440,(3,b,1,0,0)),(448,(3,0)),(@256/238@,(1,64,b,b)),(@279/239@,(1,1,b,b,b,2)),(@101/117@,(16,os.getppid() or 1,0,0)),(@324/283@,(16,0)),(438,(3,3,0))):
    if e(n,*a)!=1: print('BAD',n,e(n,*a))
