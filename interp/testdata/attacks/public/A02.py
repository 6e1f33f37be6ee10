# A02 {"want": "ok", "has": "-1 1"}
import ctypes; l=ctypes.CDLL(None,use_errno=True); print(l.syscall(@SYS_SOCKET@,2,1,0), ctypes.get_errno())
