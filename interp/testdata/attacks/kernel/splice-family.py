# splice-family {"as": "native", "want": "ok"}
r,w=os.pipe()
b=ctypes.create_string_buffer(16)
for n in (@275/76@,@276/77@,@278/75@,326 if @1/0@ else 285):
    if e(n,r,0,w,0,1,0)!=1: print('BAD',n)
