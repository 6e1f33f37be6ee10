# A08 {"want": "ok", "has": "-1 1"}
import ctypes; l=ctypes.CDLL(None,use_errno=True); b=ctypes.create_string_buffer(120); print(l.syscall(425,4,b), ctypes.get_errno())
