# sysv-posix-ipc {"as": "native", "want": "ok"}
b=ctypes.create_string_buffer(64)
for n in (@29/194@,@30/196@,@31/195@,@64/190@,@65/193@,@66/191@,@68/186@,@69/189@,@70/188@,@71/187@,@240/180@,@241/181@,@242/182@):
    if e(n,1,64,0o1666,b,0)!=1: print('BAD',n)
try:
    import multiprocessing.synchronize; multiprocessing.Lock(); print('lock')
except (OSError,ImportError): pass
