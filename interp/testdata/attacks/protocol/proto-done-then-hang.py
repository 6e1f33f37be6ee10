# proto-done-then-hang {"want": "ok;timeout_cpu|timeout_wall|protocol_violation|ok"}
import os,sys,time
f=sys._getframe()
n=0
while f:
    n=f.f_locals.get('number',n); f=f.f_back
os.write(3,('{"t":"done","id":%d,"ok":true,"exc":"","exit":-1,"tb":0}'%n).encode())
while True: pass
# next cell
print('second')
