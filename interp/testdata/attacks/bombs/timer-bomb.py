# timer-bomb {"as": "native", "want": "ok"}
n=0
try:
    while True:
        fd=l.timerfd_create(1,0)
        if fd==-1: break
        b=(ctypes.c_long*4)(0,1000,0,1000); l.timerfd_settime(fd,0,b,None); n+=1
except OSError: pass
print(n)
if n>130: print('BAD')
