# landlock-more {"as": "native", "want": "ok", "has": "1 1 1"}
b=ctypes.create_string_buffer(24)
print(e(444,b,8,0),e(445,3,1,b,0),e(446,3,0))
for n in (444,445,446):
    if e(n,0,0,0,0)!=1: print('BAD',n)
