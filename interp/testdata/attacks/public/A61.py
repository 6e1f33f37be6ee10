# A61 {"want": "exc:PermissionError", "fork": "ok"}
import os,time
if os.fork()==0:
    os.setsid()
    if os.fork()==0:
        time.sleep(60)
        os._exit(0)
    os._exit(0)
print("parent done")
