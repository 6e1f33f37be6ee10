# foreign-arch {"want": "ok|crashed:SIGSEGV|exited:0|crashed:SIGILL"}
import ctypes,mmap,platform
if platform.machine()!='x86_64': raise SystemExit(0)
m=mmap.mmap(-1,4096,prot=7)
# mov eax,<nr>; xor ebx,ebx; int 0x80; ret    (i386 socketcall 102 would bypass a filter that ignores the architecture)
for n in (20,102,359,5,11):
    m.seek(0); m.write(b'\xb8'+n.to_bytes(4,'little')+b'\x31\xdb\x31\xc9\x31\xd2\xcd\x80\xc3')
    f=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
    r=f()
    print(n,r)
    if r not in (-1,-38): print('BAD')
# x32: the same numbers with bit 30 set
l=ctypes.CDLL(None,use_errno=True)
for n in (39,41,57,59):
    r=l.syscall(ctypes.c_long(0x40000000|n),0,0,0)
    if r!=-1: print('BAD x32',n,r)
