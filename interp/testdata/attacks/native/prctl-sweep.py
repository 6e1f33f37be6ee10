# prctl-sweep {"want": "ok"}
import ctypes
l=ctypes.CDLL(None,use_errno=True)
ok=[n for n in range(0,80) if l.prctl(n,0,0,0,0)!=-1]
print(ok)
if set(ok)-{3,16,15,21,23,39}: print('BAD',ok)
