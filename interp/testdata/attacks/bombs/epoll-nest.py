# epoll-nest {"want": "ok"}
import select
e=[select.epoll() for _ in range(60)]
try:
    for a,b in zip(e,e[1:]): a.register(b.fileno(),1)
except OSError as x: print(x.errno)
for a in e: a.poll(0)
