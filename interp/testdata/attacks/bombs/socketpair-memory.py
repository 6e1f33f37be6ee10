# socketpair-memory {"want": "ok|exc:OSError"}
import socket
p=[]
try:
    while True: p.append(socket.socketpair())
except OSError: pass
n=0
for a,b in p:
    a.setblocking(False)
    try:
        while True: n+=a.send(b'x'*65536)
    except BlockingIOError: pass
print(len(p),n)
if n>64<<20: print('BAD')
