# signal-owner-tricks {"as": "native", "want": "ok"}
import fcntl
a,b=socket.socketpair()
for fd in (0,1,3,a.fileno()):
    for c,v in ((8,os.getppid() or 1),(10,9),(15,0),(1024,1)):
        try: fcntl.fcntl(fd,c,v); print('BAD',fd,c)
        except OSError: pass
    for r in (0x8901,0x8902,0x5452,0x5462):
        try: fcntl.ioctl(fd,r,b'\0'*8); print('BAD ioctl',fd,hex(r))
        except OSError: pass
for n in (@222/107@,@223/110@,@244/184@):
    if e(n,0,ctypes.create_string_buffer(64),ctypes.create_string_buffer(8))!=1: print('BAD',n)
