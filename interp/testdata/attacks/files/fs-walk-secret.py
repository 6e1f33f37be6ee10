# fs-walk-secret {"want": "ok"}
import os
n=0
for d in ('/tmp','/var','/etc','/run','/proc','/sys','/dev'):
    for root,dirs,files in os.walk(d):
        for f in files:
            n+=1
            try:
                if b'canary-' in open(os.path.join(root,f),'rb').read(4096) and 'random' not in f and 'zero' not in f: print('BAD',root,f)
            except OSError: pass
        if n>5000: break
