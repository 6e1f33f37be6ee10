# fs-dir-bomb {"want": "ok"}
import os
n=0
try:
    while True: os.mkdir('/tmp/d%d'%n); n+=1
except OSError as e: print(e.errno,n)
if n>4096: print('BAD',n)
