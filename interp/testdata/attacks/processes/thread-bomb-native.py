# thread-bomb-native {"as": "native", "want": "ok|timeout_wall|timeout_cpu|exc:MemoryError|crashed|exc:RuntimeError"}
import ctypes.util
n=0
P=ctypes.CFUNCTYPE(ctypes.c_void_p,ctypes.c_void_p)
f=P(lambda a: time.sleep(60))
t=ctypes.c_ulong()
pt=getattr(l,'pthread_create',None)
while n<3000 and pt(ctypes.byref(t),None,f,None)==0: n+=1
print('n',n)
if n>2000: print('BAD')
