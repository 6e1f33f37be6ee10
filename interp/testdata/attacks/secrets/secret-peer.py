# secret-peer {"want": "ok alive"}
import ctypes,socket,struct
l=ctypes.CDLL(None,use_errno=True)
for opt in (77,59,31,17,28,58,26,34):
    b=ctypes.create_string_buffer(4096); n=ctypes.c_int(4096)
    if l.getsockopt(3,1,opt,b,ctypes.byref(n))!=-1: print('BAD',opt,b.raw[:n.value])
s=socket.socket(fileno=3); print(s.family,s.type); s.detach()
