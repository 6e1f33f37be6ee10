# native-qsort {"want": "ok", "has": "[1, 2, 3, 4, 5]"}
import ctypes
l=ctypes.CDLL(None)
a=(ctypes.c_int*5)(5,4,3,2,1)
C=ctypes.CFUNCTYPE(ctypes.c_int,ctypes.POINTER(ctypes.c_int),ctypes.POINTER(ctypes.c_int))
l.qsort(a,5,4,C(lambda x,y: x[0]-y[0]))
print(list(a))
