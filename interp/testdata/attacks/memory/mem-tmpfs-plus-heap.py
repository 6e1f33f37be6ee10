# mem-tmpfs-plus-heap {"want": "exc:MemoryError|memory"}
import os
try:
    for i in range(31): open('/tmp/%d'%i,'wb').write(b'x'*(2<<20))
except OSError: pass
a=[]
while True: a.append(bytearray(4<<20))
