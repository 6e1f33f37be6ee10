# pipe-exhaust {"want": "ok"}
import os
p=[]
try:
    while True: p.append(os.pipe())
except OSError as e: print(len(p))
for r,w in p:
    os.set_blocking(w,False)
    try:
        while True: os.write(w,b'x'*65536)
    except BlockingIOError: pass
