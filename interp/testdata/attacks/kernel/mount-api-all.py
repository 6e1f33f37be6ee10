# mount-api-all {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(64)
for n in (428,429,430,431,432,433,442,457,458,467,@165/40@,@166/39@,@155/41@,@161/51@):
    if e(n,-100,b'/tmp',0,0,0)!=1: print('BAD',n)
