# popen-shell {"want": "ok"}
import os,subprocess
for f in (lambda: os.popen('echo BA''D').read(), lambda: subprocess.getoutput('id'), lambda: os.spawnl(os.P_WAIT,'/bin/true','true')):
    try: print(repr(f()).replace('BAD','') or 1)
    except OSError as e: print(type(e).__name__)
