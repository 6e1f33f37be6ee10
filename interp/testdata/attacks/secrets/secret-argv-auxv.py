# secret-argv-auxv {"want": "ok"}
import sys,ctypes
print(sys.argv,sys.orig_argv[:2] if hasattr(sys,'orig_argv') else '')
l=ctypes.CDLL(None)
l.getauxval.restype=ctypes.c_ulong
p=l.getauxval(31)
print(ctypes.string_at(p) if p else None)
n=ctypes.POINTER(ctypes.c_char_p).in_dll(l,'environ')
i=0
while n[i]:
    if n[i].split(b'=')[0] not in b'PATH HOME LANG OPENBLAS_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS PYTHONDONTWRITEBYTECODE PYTHONHASHSEED LC_CTYPE'.split(): print('BAD',n[i])
    i+=1
