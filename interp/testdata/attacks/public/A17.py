# A17 {"want": "ok", "wantC": "exc:PermissionError", "has": "OSError 2"}
f=open("/tmp/big","wb")
try:
    for i in range(4096): f.write(b"x"*(1<<20))
except OSError as e: print(type(e).__name__, e.errno, i)
import os; os.truncate("/tmp/big",0)
