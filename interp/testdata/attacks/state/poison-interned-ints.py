# poison-interned-ints {"want": "ok|exception|exited|crashed|timeout_cpu|timeout_wall|protocol_violation"}
import ctypes,sys
for n in range(2,250):
    ctypes.c_long.from_address(id(n)+24).value=7
