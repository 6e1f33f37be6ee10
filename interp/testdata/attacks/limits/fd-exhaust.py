# fd-exhaust {"want": "ok", "has": "24 "}
import os
n=0
try:
    while True: os.dup(0); n+=1
except OSError as e: print(e.errno,n)
if n>128: print('BAD')
