# fork-orphans {"want": "exc:PermissionError|ok", "fork": "ok"}
import os,time
for i in range(20):
    try:
        if os.fork()==0:
            os.setsid(); time.sleep(99); os._exit(0)
    except OSError: break
print('left',i)
