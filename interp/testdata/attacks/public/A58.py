# A58 {"want": "crashed:SIGSEGV gone"}
import ctypes; ctypes.string_at(0)
