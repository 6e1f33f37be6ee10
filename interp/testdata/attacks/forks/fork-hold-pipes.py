# fork-hold-pipes {"want": "exc:PermissionError", "fork": "exited:0 gone"}
import os,time
if os.fork()==0:
    while True: time.sleep(1)
os._exit(0)
