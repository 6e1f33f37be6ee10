# net-raw-calls {"as": "denied", "want": "ok"}
s(@42/203@,3,b'x',16)
s(@49/200@,3,b'x',16)
s(@43/202@,3,0,0)
s(425,8,ctypes.create_string_buffer(120))
s(426,0,0,0,0,0,0)
s(427,0,0,0,0)
