# fs-import-from-tmp {"want": "ok"}
import os,sys
try:
    open('/tmp/evil.py','w').write('x=1')
    sys.path.insert(0,'/tmp'); import evil; print(evil.x)
except OSError: print('no scratch')
