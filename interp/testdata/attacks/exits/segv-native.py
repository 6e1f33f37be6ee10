# segv-native {"want": "crashed:SIGSEGV gone"}
import ctypes; ctypes.memset(0x10,0,1)
