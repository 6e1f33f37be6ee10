# proto-guess-id {"want": "ok|protocol_violation;ok|protocol_violation"}
import gc,os,sys
ids=set()
f=sys._getframe()
while f:
    for k,v in list(f.f_locals.items()):
        if type(v) is int: ids.add(v)
    f=f.f_back
for n in sorted(ids):
    try: os.write(3,('{"t":"done","id":%d,"ok":true,"exc":"","exit":-1,"tb":0}'%n).encode())
    except OSError: pass
import time; time.sleep(0.3); print('late')
# next cell
print('next')
