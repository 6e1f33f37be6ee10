# fork-talks-on-3 {"want": "exc:PermissionError", "fork": "protocol_violation gone"}
import os,time
if os.fork()==0:
    time.sleep(0.05)
    while True: os.write(3,b'{"t":"done","id":1,"ok":true}'); time.sleep(0.01)
time.sleep(0.4)
print('x')
