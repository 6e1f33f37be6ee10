# proto-trace-length {"want": "exc:E|protocol_violation|ok"}
import os,sys
f=sys._getframe()
n=0
while f:
    n=f.f_locals.get('number',n); f=f.f_back
print('x'*100)
sys.stdout.flush()
os.write(3,('{"t":"done","id":%d,"ok":false,"exc":"E","exit":-1,"tb":1048576}'%n).encode())
import time; time.sleep(0.2)
