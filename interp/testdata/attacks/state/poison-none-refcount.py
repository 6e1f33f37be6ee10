# poison-none-refcount {"want": "ok|exception|exited|crashed|timeout_cpu|timeout_wall|protocol_violation"}
import ctypes
ctypes.c_long.from_address(id(None)).value=0
ctypes.c_long.from_address(id(True)).value=0
x=None
del x
