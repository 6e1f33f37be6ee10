# native-every-syscall {"want": "ok|crashed|protocol_violation|timeout_wall|exited"}
import ctypes,sys
# Every number with null arguments: nothing but EPERM, EFAULT, EINVAL and friends may come back, and the host must not notice.
l=ctypes.CDLL(None,use_errno=True)
skip=set(@SKIP@)
for n in range(0,470):
    if n in skip: continue
    ctypes.set_errno(0)
    l.syscall(ctypes.c_long(n),ctypes.c_long(0),ctypes.c_long(0),ctypes.c_long(0),ctypes.c_long(0),ctypes.c_long(0),ctypes.c_long(0))
print('swept')
