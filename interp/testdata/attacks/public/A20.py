# A20 {"want": "ok", "wantC": "exc:PermissionError"}
import os,glob,stat
s=[p for p in glob.glob("/usr/bin/*") if os.path.exists(p) and os.stat(p).st_mode & stat.S_ISUID]
print(len(s))
open("/tmp/a","w").close(); os.chmod("/tmp/a",0o4755)
try: os.link("/usr/bin/python3.11","/tmp/py"); print('BAD')
except OSError as e: print(type(e).__name__)
