# secret-stack-strings {"want": "ok"}
import ctypes
l=ctypes.CDLL(None)
n=ctypes.POINTER(ctypes.c_char_p).in_dll(l,'environ')
base=ctypes.cast(n[0],ctypes.c_void_p).value
b=ctypes.string_at(base,512)
for w in (b'GOPATH',b'SECRET',b'TOKEN',b'AWS_',b'SSH_',b'HOSTNAME=',b'USER='):
    if w in b: print('BAD',w)
