# limits-of-others {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(16)
for p in (os.getppid() or 1,1,2,100,1000):
    if e(@302/261@,p,7,b,0)==0 and p!=os.getpid(): print('BAD prlimit',p)
for n,a in ((@203/122@,(0,8,b)),(@144/119@,(0,1,b)),(@142/118@,(0,b)),(@314/274@,(0,b,0)),(@141/140@,(0,0,-5)),(@251/30@,(1,0,0)),(@160/164@,(7,b))):
    if e(n,*a)!=1: print('BAD',n)
