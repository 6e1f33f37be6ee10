# fs-symlink-race {"want": "ok"}
import os,threading,time
stop=[]
def flip():
    while not stop:
        for t in ('@SECRET_FILE@','/tmp/plain'):
            try:
                os.symlink(t,'/tmp/n'); os.replace('/tmp/n','/tmp/race')
            except OSError: return
try: open('/tmp/plain','w').write('x')
except OSError: pass
t=threading.Thread(target=flip); t.start()
end=time.time()+0.2
while time.time()<end:
    try:
        s=open('/tmp/race').read()
        if 'canary' in s: print('BAD',s)
        open('/tmp/race','a').write('x')
    except OSError: pass
stop.append(1); t.join()
