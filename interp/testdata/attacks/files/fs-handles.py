# fs-handles {"as": "denied", "want": "ok"}
s(@303/264@,-100,b'/tmp',ctypes.create_string_buffer(200),ctypes.byref(ctypes.c_int()),0)
s(@304/265@,-100,ctypes.create_string_buffer(200),0)
s(437,-100,b'/tmp',ctypes.create_string_buffer(24),24)
