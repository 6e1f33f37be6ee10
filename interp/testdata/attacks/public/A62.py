# A62 {"want": "exc:PermissionError;ok", "fork": "ok;ok", "has": "q"}
import os,time
if os.fork()==0:
    os.setsid()
    while True: os.write(1,b"late "); time.sleep(0.01)
print("p")
# next cell
import time; time.sleep(0.1); print("q")
