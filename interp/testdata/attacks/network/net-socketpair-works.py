# net-socketpair-works {"want": "ok"}
import socket
a,b=socket.socketpair()
a.send(b'hi')
print(b.recv(9))
import asyncio
async def f():
    await asyncio.sleep(0)
    return 7
print(asyncio.run(f()))
